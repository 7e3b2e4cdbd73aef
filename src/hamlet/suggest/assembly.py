"""The main screen put together: the half of the composition root that has content and caches."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Any, TypeVar

from hamlet.config import ConfigError, ConfigProblem, LoadedConfig, SuggestConfig
from hamlet.gateway import Gateway
from hamlet.registry import RegistryHolder
from hamlet.registry.sources import source_class
from hamlet.spi import Log
from hamlet.spi.sources import FoundLink, SourceSettings, SupportsSearch
from hamlet.suggest import (
    CacheStore,
    ChipBank,
    ChipSuggester,
    ChipWriter,
    ContentEditor,
    Draft,
    EventStore,
    Explorer,
    LinkSuggester,
    RedisStore,
    SuggestService,
    SwrCache,
    TokenSigner,
    WebSearch,
    key_hasher,
)
from hamlet.suggest.chips.writer import DraftWriter
from hamlet.suggest.content import Content, PackError, load_content
from hamlet.suggest.demo import DemoState, FaultInjectingSource, FaultInjectingWriter
from hamlet.suggest.metrics import ScreenMetrics
from hamlet.suggest.retrieval import Embedder, load_encoder

T = TypeVar("T")
_COUNTS_REFRESH_S = 60.0


class MainScreenComponents:
    """Service, content, caches and events of one process. Opens no connection by itself."""

    def __init__(
        self,
        loaded: LoadedConfig,
        gateway: Gateway,
        registries: RegistryHolder,
        log: Log,
        metrics: ScreenMetrics,
    ) -> None:
        """Raises ConfigError if the packs cannot be used."""
        self._config = config = loaded.config.suggest
        self._log = log
        secret = _secret(config)
        self.signer = TokenSigner(secret)
        self.events = EventStore(config.events_db, metrics.on_event)
        self.demo_state = DemoState() if config.demo else None
        self.web = WebSearch(
            lambda: self._web_sources(registries), hedge_after_s=config.hedge_after_s
        )
        self._explorer = Explorer() if config.explore else None
        self._embedder = _load_embedder(config, log)
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            self.editor = ContentEditor(config.packs.folder, config.packs.off, self._set_content)
        except PackError as error:
            raise _config_error(loaded, error) from None
        writer: DraftWriter | None = None
        if config.chip_route:
            writer = ChipWriter(gateway, config.chip_route)
        self.has_model, self.has_web = writer is not None, bool(config.sources)
        if self.demo_state is not None:
            writer = FaultInjectingWriter(self.demo_state, writer)
        content = self.editor.content
        hash_key = key_hasher(secret)
        link_cache: SwrCache[FoundLink] = SwrCache(
            fresh_s=config.links_fresh_s,
            stale_s=config.links_stale_s,
            store=_store(config, "links", FoundLink),
        )
        chip_cache: SwrCache[Draft] = SwrCache(
            fresh_s=config.chips_fresh_s,
            stale_s=config.chips_stale_s,
            store=_store(config, "chips", Draft),
        )
        self._indexes = catalogue_source, bank = _build_indexes(content)
        links = LinkSuggester(catalogue_source, self.web, link_cache, hash_key)
        chips = ChipSuggester(bank, writer, chip_cache, hash_key, self._explorer)
        self.service = SuggestService(
            links, chips, self.signer, content.pins, metrics.on_suggestions
        )

    def _web_sources(self, registries: RegistryHolder) -> Mapping[str, SupportsSearch]:
        configured = registries.current.sources
        if self.demo_state is None:
            return configured
        return {"demo": FaultInjectingSource(self.demo_state, configured, lambda: self._indexes[0])}

    def start(self) -> None:
        """Begin what goes on in the background."""
        if self._embedder is not None:
            self._spawn(self._embed(self._embedder, *self._indexes))
        if self._explorer is not None:
            self._spawn(self._refresh_counts(self._explorer))

    async def wait_until_indexed(self) -> None:
        """Wait until the vectors are there."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def reload(self, loaded: LoadedConfig) -> None:
        """Read the packs again. Raises ConfigError, and then nothing changes."""
        try:
            await self.editor.reload()
        except PackError as error:
            raise _config_error(loaded, error) from None

    async def _set_content(self, content: Content) -> None:
        before = self.editor.content
        if (content.links, content.chips) != (before.links, before.chips):
            # Tenths of a second, in which the loop has calls to serve.
            self._indexes = await asyncio.to_thread(_build_indexes, content)
            if self._embedder is not None:
                self._spawn(self._embed(self._embedder, *self._indexes))
        self.service.set_content(*self._indexes, content.pins)

    def _spawn(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _embed(self, embedder: Embedder, source: Any, bank: ChipBank) -> None:
        start = time.perf_counter()
        await asyncio.to_thread(source.embed, embedder)
        await asyncio.to_thread(bank.embed, embedder)
        self._log.info("suggest.embedded", seconds=round(time.perf_counter() - start, 1))

    async def _refresh_counts(self, explorer: Explorer) -> None:
        while True:
            explorer.set_counts(await self.events.decayed_counts(time.time()))
            await asyncio.sleep(_COUNTS_REFRESH_S)

    async def aclose(self) -> None:
        """Stop everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.service.aclose()
        await self.web.aclose()
        await self.events.aclose()
        if self._embedder is not None:
            self._embedder.close()


def _build_indexes(content: Content) -> tuple[Any, ChipBank]:
    """What finds the links and what finds the chips."""
    return source_class("catalogue")(SourceSettings(), content.links), ChipBank(content)


def check_packs(loaded: LoadedConfig) -> None:
    """Raise ConfigError if the packs of a configuration cannot be used."""
    packs = loaded.config.suggest.packs
    try:
        load_content(packs.folder, packs.off)
    except PackError as error:
        raise _config_error(loaded, error) from None


def _load_embedder(config: SuggestConfig, log: Log) -> Embedder | None:
    if not config.embed:
        return None
    encoder, why_not = load_encoder()
    if encoder is None:
        log.warning("suggest.embed_unavailable", reason=why_not)
        return None
    return Embedder(encoder)


def _store(config: SuggestConfig, prefix: str, kind: type[T]) -> CacheStore[T] | None:
    return RedisStore(config.redis.get_secret_value(), prefix, kind) if config.redis else None


def _secret(config: SuggestConfig) -> bytes:
    """What signs item tokens and salts keys; one of its own for this process if none is set."""
    given = config.token_secret
    return given.get_secret_value().encode() if given else secrets.token_bytes(32)


def _config_error(loaded: LoadedConfig, error: PackError) -> ConfigError:
    path = ("suggest", "packs", "folder")
    problem = ConfigProblem(".".join(path), loaded.source.line_of(path), str(error))
    return ConfigError(loaded.source.name, [problem])
