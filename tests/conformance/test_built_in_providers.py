"""The built-in adapters pass the conformance kit for plugins."""

import base64
import json
from typing import Any

import pytest

from hamlet.core import ALL_FEATURES, Feature, pack
from hamlet.providers.anthropic import Anthropic, AnthropicSettings
from hamlet.providers.embedded import Embedded, EmbeddedSettings
from hamlet.providers.openai import OpenAI, Settings
from hamlet.providers.openai_compatible import CompatibleSettings, OpenAICompatible
from hamlet.spi import Runtime
from hamlet.testing import Canned, LoopbackUpstream, Received, json_reply
from hamlet.testing.conformance import ChatConformance, EmbeddingConformance
from hamlet.testing.wire_conformance import WireConformance
from support.vendor_wires import AnthropicWire, OpenAIWire


class TestOpenAI(WireConformance):
    wire = OpenAIWire("openai", "max_completion_tokens")
    features = ALL_FEATURES

    def make(self, base_url: str, runtime: Runtime) -> OpenAI:
        return OpenAI(Settings(base_url=base_url, api_key="sk-test"), runtime)  # type: ignore[arg-type]


class TestAzureDeployments(WireConformance):
    wire = OpenAIWire("openai", "max_completion_tokens")
    features = ALL_FEATURES

    def make(self, base_url: str, runtime: Runtime) -> OpenAI:
        settings = {"base_url": base_url, "api_key": "k", "api_version": "2024-10-21"}
        return OpenAI(Settings.model_validate(settings), runtime)


class TestOpenAICompatible(WireConformance):
    wire = OpenAIWire("openai_compatible", "max_tokens")
    features = ALL_FEATURES

    def make(self, base_url: str, runtime: Runtime) -> OpenAICompatible:
        return OpenAICompatible(CompatibleSettings(base_url=base_url), runtime)


class TestAnthropic(WireConformance):
    wire = AnthropicWire()
    features = frozenset({Feature.TOOLS, Feature.REASONING})

    def make(self, base_url: str, runtime: Runtime) -> Anthropic:
        return Anthropic(AnthropicSettings(base_url=base_url), runtime)


class TestEmbedded(ChatConformance):
    model = "embedded-chat"
    features = frozenset({Feature.TOOLS})

    def make(self, base_url: str, runtime: Runtime) -> Embedded:
        return Embedded(EmbeddedSettings(tokens_per_s=0), runtime)


class TestEmbeddedEmbeddings(EmbeddingConformance):
    model = "embedded-embed"

    def make(self, base_url: str, runtime: Runtime) -> Embedded:
        return Embedded(EmbeddedSettings(), runtime)


class TestOpenAIEmbeddings(EmbeddingConformance):
    @pytest.fixture
    async def provider(self, host: Runtime) -> Any:
        async with LoopbackUpstream() as upstream:
            upstream.respond(_vectors)
            yield self.make(upstream.url, host)

    def make(self, base_url: str, runtime: Runtime) -> OpenAI:
        return OpenAI(Settings(base_url=base_url), runtime)


class TestFloatEmbeddings(TestOpenAIEmbeddings):
    """A compatible server without base64 that returns vectors out of order."""

    @pytest.fixture
    async def provider(self, host: Runtime) -> Any:
        async with LoopbackUpstream() as upstream:
            upstream.respond(lambda request: _vectors(request, floats=True))
            yield self.make(upstream.url, host)


def _vectors(request: Received, floats: bool = False) -> Canned:
    rows = []
    for i, text in enumerate(request.json["input"]):
        vector = [float(len(text)), float(ord(text[0]))]
        packed = base64.b64encode(pack(vector)).decode()
        rows.append({"index": i, "embedding": vector if floats else packed})
    body = {"data": rows[::-1], "model": "model-1", "usage": {"prompt_tokens": 4}}
    return json_reply(json.dumps(body).encode())


class TestOpenAIOverAiohttp(TestOpenAI):
    transport = "aiohttp"


class TestAnthropicOverAiohttp(TestAnthropic):
    transport = "aiohttp"


class TestOpenAIOverHttptools(TestOpenAI):
    transport = "httptools"


class TestAnthropicOverHttptools(TestAnthropic):
    transport = "httptools"
