"""Authentication at OpenAI and Azure."""

import pytest

from hamlet.core import Text, errors
from hamlet.providers.openai import OpenAI, Settings
from hamlet.testing import Received, json_reply
from hamlet.testing.cases import chat_request, chat_response
from hamlet.testing.support import run_chat
from support.vendor_wires import OpenAIWire

WIRE = OpenAIWire("openai", "max_completion_tokens")


class EntraServer:
    """Serves tokens, and the resource that requires them."""

    def __init__(self) -> None:
        self.tokens_issued = 0
        self.is_refusing = False

    def __call__(self, request: Received):
        if request.path.endswith("/token"):
            self.tokens_issued += 1
            return json_reply({"access_token": f"token-{self.tokens_issued}", "expires_in": 3600})
        if self.is_refusing:
            return json_reply({"error": {"message": "no"}}, 401)
        return json_reply(WIRE.whole(chat_response(Text("Hi."))))


@pytest.mark.parametrize("proof", ["secret", "file"])
async def test_entra_token_is_cached_and_renewed_on_401(upstream, host, tmp_path, proof) -> None:
    (tmp_path / "token").write_text("workload-jwt\n")
    proofs = {
        "secret": {"client_secret": "cs-0123456789"},
        "file": {"federated_token_file": str(tmp_path / "token")},
    }
    entra = EntraServer()
    upstream.respond(entra)
    settings = {
        "base_url": upstream.url,
        "authority": upstream.url,
        "auth": "entra",
        "tenant_id": "t",
        "client_id": "c",
        **proofs[proof],
    }
    provider = OpenAI(Settings.model_validate(settings), host)
    for _ in range(2):
        await run_chat(provider, chat_request())
    assert entra.tokens_issued == 1
    assert upstream.requests[-1].headers["authorization"] == "Bearer token-1"
    form = upstream.requests[0].body.decode()
    assert ("client_secret=cs-0123456789" in form) == (proof == "secret")
    assert ("client_assertion=workload-jwt" in form) == (proof == "file")
    entra.is_refusing = True
    with pytest.raises(errors.UpstreamAuth):
        await run_chat(provider, chat_request())
    entra.is_refusing = False
    await run_chat(provider, chat_request())
    assert entra.tokens_issued == 2


async def test_refused_sign_in_is_an_auth_error(upstream, host, tmp_path) -> None:
    settings = {"base_url": upstream.url, "authority": upstream.url, "auth": "entra"}
    settings |= {"tenant_id": "t", "client_id": "c"}
    provider = OpenAI(Settings.model_validate(settings | {"client_secret": "s"}), host)
    for reply in (json_reply({}, 400), json_reply({}), json_reply(b"<html>")):
        upstream.reply(reply)
        with pytest.raises(errors.UpstreamAuth):
            await run_chat(provider, chat_request())
    missing = settings | {"federated_token_file": str(tmp_path / "none")}
    provider = OpenAI(Settings.model_validate(missing), host)
    with pytest.raises(errors.UpstreamAuth, match="FileNotFoundError"):
        await run_chat(provider, chat_request())
    for wrong in (
        {"auth": "entra"},
        settings,
        settings | {"client_secret": "s", "federated_token_file": "f"},
    ):
        with pytest.raises(ValueError, match="entra needs"):
            Settings.model_validate(wrong)


@pytest.mark.parametrize(
    ("settings", "header"),
    [
        ({"base_url": "https://r.openai.azure.com/openai/v1"}, "api-key"),
        ({"api_version": "v"}, "api-key"),
        ({"api_version": "v", "auth": "bearer"}, "authorization"),
        ({}, "authorization"),
    ],
)
def test_header_of_the_key_by_host(settings, header) -> None:
    assert list(Settings.model_validate({**settings, "api_key": "k"}).auth_header) == [header]
    assert Settings(organization="o", project="p").account_headers == {
        "openai-organization": "o",
        "openai-project": "p",
    }
