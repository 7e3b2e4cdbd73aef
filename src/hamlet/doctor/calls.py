"""One minimal call to each deployment, through the adapter that will serve it."""

from __future__ import annotations

import asyncio
import difflib
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress

from hamlet.config import GatewayConfig
from hamlet.core import errors, redact
from hamlet.core.errors import ProviderError
from hamlet.doctor.connectivity import diagnose, host_and_port
from hamlet.doctor.finding import Finding, Level
from hamlet.doctor.recording_transport import RecordingPlugins, TransportRecord
from hamlet.gateway.gateway import with_timeout
from hamlet.gateway.prober import send_minimal_request
from hamlet.registry import Deployment, ProviderHandle, Registry, Route

_MAX_CONCURRENT_CALLS = 8


async def examine_calls(
    registry: Registry, plugins: RecordingPlugins, call_timeout_s: float
) -> list[Finding]:
    """Call every deployment once, for one token, and probe providers that no route uses."""
    checker = _DeploymentChecker(registry.config, plugins, call_timeout_s)
    found: dict[str, Awaitable[Finding]] = {}
    for route in registry.routes.values():
        for deployment in (d for tier in route.tiers for d in tier):
            if deployment.id not in found:
                found[deployment.id] = checker.check_deployment(route, deployment)
    used = {d.provider.name for r in registry.routes.values() for tier in r.tiers for d in tier}
    for name, handle in registry.providers.items():
        if name not in used:
            found[name] = checker.check_provider(handle)
    return list(await asyncio.gather(*found.values()))


class _DeploymentChecker:
    def __init__(
        self, config: GatewayConfig, plugins: RecordingPlugins, call_timeout_s: float
    ) -> None:
        self._config = config
        self._plugins = plugins
        self._call_timeout_s = call_timeout_s
        self._semaphore = asyncio.Semaphore(_MAX_CONCURRENT_CALLS)

    async def check_deployment(self, route: Route, deployment: Deployment) -> Finding:
        call = send_minimal_request(route, deployment, self._call_timeout_s)
        return await self._run_call(deployment.provider, deployment.id, call, deployment.model)

    async def check_provider(self, handle: ProviderHandle) -> Finding:
        if "probe" not in handle.operations:
            return Finding("provider", handle.name, "skipped", "no route names it")
        return await self._run_call(
            handle, handle.name, with_timeout(handle.instance.probe(), self._call_timeout_s)
        )

    async def _run_call(
        self, handle: ProviderHandle, subject: str, call: Awaitable[object], model: str = ""
    ) -> Finding:
        record = self._plugins.record_of(handle.instance)
        async with self._semaphore:
            start = time.monotonic()
            try:
                await call
            except errors.EmptyAnswer:
                # A reasoning model may spend its one token on thought: the call still succeeded.
                pass
            except ProviderError as error:
                level, message, advice = await self._explain_failure(error, handle, record, model)
                return Finding("provider", subject, level, message, advice)
            except OSError as error:
                reason = f"{type(error).__name__}: {redact(error.strerror or '')}"
                return Finding("provider", subject, "failed", reason, "check ca_file")
        if not record.settings:
            return Finding("provider", subject, "skipped", "runs inside hamlet: no vendor to call")
        return Finding("provider", subject, "ok", f"answered in {time.monotonic() - start:.2f} s")

    async def _explain_failure(
        self, error: ProviderError, handle: ProviderHandle, record: TransportRecord, model: str
    ) -> tuple[Level, str, str]:
        settings = record.settings[0] if record.settings else None
        if settings is not None and error.phase == "connect":
            return "failed", *await diagnose(
                settings.base_url, settings.ca_file, self._call_timeout_s
            )
        if isinstance(error, errors.ModelMissing):
            return (
                "failed",
                f"the vendor knows no model {model!r}",
                await self._suggest_models(handle, model),
            )
        where = host_and_port(settings.base_url) if settings else "the vendor"
        level, message, advice = _find_remedy(error)
        reference = _key_reference(self._config, handle.name)
        return level, message.format(where=where), advice.format(where=where, key=reference)

    async def _suggest_models(self, handle: ProviderHandle, model: str) -> str:
        """Advice on a missing model, with similar models that the vendor lists."""
        listed: Sequence[str] = ()
        if "listing" in handle.operations:
            with suppress(ProviderError, OSError):
                listed = await with_timeout(handle.instance.models(), self._call_timeout_s)
        matches = difflib.get_close_matches(model, listed, n=3)
        advice = "check the model's name; on Azure it is the deployment's"
        return f"{advice}. The account has {', '.join(matches)}" if matches else advice


def _key_reference(config: GatewayConfig, provider: str) -> str:
    """The reference to the provider's key; never the key itself."""
    api_key = config.providers[provider].settings.get("api_key")
    if isinstance(api_key, str) and api_key.startswith(("env:", "file:")):
        return api_key
    return "the credentials in the configuration" if api_key is None else "api_key"


_Remedy = tuple[Level, str, str]
_REMEDIES: tuple[tuple[type[ProviderError], _Remedy], ...] = (
    (errors.UpstreamAuth, ("failed", "the key is refused",
     "check {key}: revoked, of another account or region, or with a trailing space")),
    (errors.QuotaExhausted, ("failed", "the key is valid, but its credit or quota is used up",
     "add credit or raise the limit in the vendor's console")),
    (errors.RateLimited, ("warning", "the key is valid; its rate limit is used up right now",
     "check who else uses {key}; state tpm and rpm so that hamlet stays within them")),
    (errors.Overloaded, ("warning", "the vendor says that it is overloaded",
     "try again later; a second tier would answer meanwhile")),
    (errors.UpstreamTimeout, ("failed", "{where} did not answer in time",
     "check the vendor's status page, and the network path to it")),
    (errors.UpstreamUnavailable, ("failed", "{where} answers with its own errors, or breaks off",
     "check the vendor's status page; try again later")),
    (errors.UpstreamProtocol, ("failed", "{where} answers, but not as this kind of API does",
     "check kind and base_url: a missing /v1 or a proxy's login page looks like this")),
    (errors.LocalLimit, ("failed", "this process may open no more files", "see open files")),
)  # fmt: skip


def _find_remedy(error: ProviderError) -> _Remedy:
    for kind, remedy in _REMEDIES:
        if isinstance(error, kind):
            return remedy
    # The vendor has read the request and rejected it: key and model are valid.
    vendor_message = redact(error.message).replace("{", "(").replace("}", ")")
    return (
        "warning",
        f"it answers, but refuses a minimal call: {vendor_message}",
        "try a real call",
    )
