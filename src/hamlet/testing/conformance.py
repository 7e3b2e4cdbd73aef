"""Tests that every chat and embeddings provider must pass. Subclass and implement `make`.

    class TestAcme(WireConformance):
        wire = AcmeWire()
        features = frozenset({Feature.TOOLS})

        def make(self, base_url, runtime):
            return Acme(Acme.Settings(base_url=base_url, api_key="secret"), runtime)

`ChatConformance` suits any provider; `WireConformance` (in `hamlet.testing.wire_conformance`)
adds the requirements of a provider over HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from hamlet.core import (
    EmbeddingRequest,
    Feature,
    Finished,
    ModelCard,
    unpack,
)
from hamlet.runtime import DEFAULT_TRANSPORT
from hamlet.spi import API_VERSION, Runtime, operations
from hamlet.spi.settings import TransportName
from hamlet.testing.cases import chat_request
from hamlet.testing.support import (
    NoSilentOverrides,
    collect_events,
    host_runtime,
    run_chat,
    without_vendor_details,
)

_SECRET = "sk-conformance-0123456789"  # noqa: S105


class _ProviderConformance(NoSilentOverrides):
    """Requirements of any provider. `transport` is the transport of its calls."""

    transport: TransportName = DEFAULT_TRANSPORT

    def make(self, base_url: str, runtime: Runtime) -> Any:
        """A provider of the tested kind that calls `base_url`, if it calls an upstream."""
        raise TypeError("implement make() for your provider")

    @pytest_asyncio.fixture
    async def host(self) -> AsyncIterator[Runtime]:
        """The runtime that the provider gets."""
        host = host_runtime(self.transport)
        yield host
        await host.aclose()

    @pytest.fixture
    def provider(self, host: Runtime) -> Any:
        """The provider under test."""
        return self.make("http://127.0.0.1:9", host)

    def test_declares_the_contract(self, provider: Any) -> None:
        assert type(provider).api_version == API_VERSION
        assert operations(provider)
        assert all(isinstance(card, ModelCard) for card in provider.cards.values())

    def test_settings_refuse_unknown_keys(self, provider: Any) -> None:
        with pytest.raises(ValidationError, match="no_such_key"):
            type(provider).Settings(base_url="http://127.0.0.1:9", no_such_key=1)

    def test_no_repr_shows_the_key(self, provider: Any) -> None:
        fields = {"base_url": "http://127.0.0.1:9", "api_key": _SECRET}
        settings = type(provider).Settings.model_validate(fields)
        assert _SECRET not in repr(settings)
        assert _SECRET not in settings.model_dump_json()

    async def test_may_be_closed_twice(self, provider: Any) -> None:
        close = getattr(provider, "aclose", None)
        for _ in range(2):
            if close is not None:
                await close()
        assert operations(provider)


class ChatConformance(_ProviderConformance):
    """A provider of chat. `model` is one that it accepts."""

    model: str = "model-1"
    features: frozenset[Feature] = frozenset()

    async def test_streams_in_the_grammar(self, provider: Any) -> None:
        events = await collect_events(provider, chat_request("Hello", self.model, stream=True))
        assert isinstance(events[-1], Finished)

    async def test_a_whole_answer_equals_the_fold_of_its_stream(self, provider: Any) -> None:
        whole = await run_chat(provider, chat_request("안녕하세요, 세계", self.model))
        streamed = await run_chat(
            provider, chat_request("안녕하세요, 세계", self.model, stream=True)
        )
        assert without_vendor_details(streamed) == without_vendor_details(whole)

    async def test_an_early_close_is_quiet(self, provider: Any) -> None:
        source = provider.chat(chat_request("Hello", self.model, stream=True))
        await anext(source)
        await source.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(source)

    async def test_parallel_calls_do_not_mix(self, provider: Any) -> None:
        texts = [f"Question number {i} about the colour of house {i}." for i in range(20)]
        alone = [await run_chat(provider, chat_request(text, self.model)) for text in texts]
        together = await asyncio.gather(
            *(run_chat(provider, chat_request(text, self.model, stream=True)) for text in texts)
        )
        assert [r.text for r in together] == [r.text for r in alone]


class EmbeddingConformance(_ProviderConformance):
    """A provider of embeddings. `model` is one that it accepts."""

    model: str = "model-1"
    dimensions: int | None = None

    async def _embed(self, provider: Any, *texts: str) -> list[list[float]]:
        request = EmbeddingRequest(self.model, texts, self.dimensions)
        response = await provider.embed(request)
        return [unpack(vector) for vector in response.vectors]

    async def test_gives_one_vector_an_input_in_order(self, provider: Any) -> None:
        first, second, third = await self._embed(provider, "a cat", "한국어 문장", "a cat")
        assert first == third
        assert first != second
        assert len(first) == len(second)

    async def test_a_batch_equals_single_calls(self, provider: Any) -> None:
        texts = ("a cat", "une école", "東京の天気")
        alone = [(await self._embed(provider, text))[0] for text in texts]
        assert await self._embed(provider, *texts) == alone

    async def test_says_what_it_read(self, provider: Any) -> None:
        response = await provider.embed(EmbeddingRequest(self.model, ("a cat",), self.dimensions))
        assert response.usage.input_tokens
