"""Acme chat models over their v2 API: a provider plugin in sixty lines."""

import json

from hamlet.core import Finished, FinishReason, Started, TextDelta, Usage, errors
from hamlet.spi import (
    API_VERSION,
    ProviderSettings,
    cards_from,
    need_events,
    raise_for_upstream,
    sse,
)

REASONS = {
    "eos": FinishReason.STOP,
    "max": FinishReason.LENGTH,
    "filter": FinishReason.CONTENT_FILTER,
}


class Settings(ProviderSettings):
    base_url: str = "https://api.acme.example/v2"
    region: str = "any"


class Acme:
    """Acme's text models."""

    api_version = API_VERSION
    Settings = Settings
    cards = cards_from("hamlet_acme")

    def __init__(self, settings, runtime):
        headers = {"x-acme-key": settings.secret(), "x-acme-region": settings.region}
        self._http = runtime.http(settings, headers)

    async def chat(self, request):
        async with self._http.stream("POST", "/chat", json=encode(request)) as reply:
            await raise_for_upstream(reply, classify)
            if not request.stream:
                for event in decode_whole(await reply.aread(), request.model):
                    yield event
                return
            need_events(reply)
            async for frame in sse(reply):
                if frame.event == "start":
                    yield Started(frame.json["id"], request.model)
                elif frame.event == "text":
                    yield TextDelta(0, frame.json["t"])
                elif frame.event == "oops":
                    raise errors.Overloaded("Acme is overloaded")
                elif frame.event == "end":
                    yield finished(frame.json)


def encode(request):
    lines = [{"who": message.role, "says": message.text} for message in request.messages]
    body = {"model": request.model, "messages": lines, "stream": request.stream}
    options = request.provider_options.get("acme", {})
    return body | request.params.sent() | request.params.extra | dict(options)


def decode_whole(raw, model):
    try:
        body = json.loads(raw)
        yield Started(body["id"], model)
        yield TextDelta(0, body["text"])
        yield finished(body)
    except (ValueError, KeyError, TypeError):
        raise errors.UpstreamProtocol("Acme's answer is not what its API promises") from None


def finished(end):
    used = end["usage"]  # Acme does not count cached tokens as read: our totals do.
    usage = Usage(used["in"] + used["cached"], used["out"], used["cached"] or None, raw=used)
    return Finished(REASONS.get(end["why"], FinishReason.OTHER), usage, raw_reason=end["why"])


def classify(status, body):
    """Only what the status does not already say."""
    return errors.QuotaExhausted if body.get("code") == "credit_exhausted" else None
