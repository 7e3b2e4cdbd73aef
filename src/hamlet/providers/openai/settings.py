"""Settings of OpenAI and of Azure OpenAI resources."""

from __future__ import annotations

from typing import Literal

from pydantic import SecretStr, model_validator

from hamlet.spi import ProviderSettings


class Settings(ProviderSettings):
    """`base_url` ends in /v1 (OpenAI, Azure's v1 form), or is the resource if `api_version` is set.

    `auth` "auto" sends `api-key` to Azure and a bearer token elsewhere. "entra" signs in to
    Microsoft Entra ID as `client_id` of `tenant_id`, with a secret or a workload's token file:
    https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
    """

    base_url: str = "https://api.openai.com/v1"
    api_version: str | None = None
    auth: Literal["auto", "bearer", "api-key", "entra"] = "auto"
    organization: str | None = None
    project: str | None = None
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None
    federated_token_file: str | None = None
    authority: str = "https://login.microsoftonline.com"
    scope: str = "https://cognitiveservices.azure.com/.default"

    @model_validator(mode="after")
    def _check_entra_credentials(self) -> Settings:
        if self.auth == "entra":
            if not (self.tenant_id and self.client_id):
                raise ValueError("auth entra needs tenant_id and client_id")
            if (self.client_secret is None) == (self.federated_token_file is None):
                raise ValueError("auth entra needs one of client_secret, federated_token_file")
        return self

    @property
    def auth_header(self) -> dict[str, str]:
        """The header with the static key, if there is one."""
        if self.api_key is None or self.auth == "entra":
            return {}
        azure = self.api_version is not None or ".azure.com" in self.base_url
        if self.auth == "api-key" or (self.auth == "auto" and azure):
            return {"api-key": self.secret()}
        return {"authorization": f"Bearer {self.secret()}"}

    @property
    def account_headers(self) -> dict[str, str]:
        """The headers for organization and project."""
        named = {"openai-organization": self.organization, "openai-project": self.project}
        return {name: value for name, value in named.items() if value}
