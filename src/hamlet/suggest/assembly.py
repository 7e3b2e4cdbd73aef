"""Builds the main screen: the part of the composition root that has content and caches."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from hamlet.config import ConfigError, ConfigProblem, LoadedConfig, SuggestConfig
from hamlet.gateway import Gateway
from hamlet.registry import RegistryHolder
from hamlet.registry.sources import source_class
from hamlet.spi import Log
from hamlet.spi.sources import FoundLink, SourceSettings, SupportsSearch
from hamlet.suggest.cache import CacheStore, RedisStore, ResponseCache, SwrCache, key_hasher
from hamlet.suggest.chips.bank import ChipBank
from hamlet.suggest.chips.explorer import Explorer
from hamlet.suggest.chips.suggester import ChipSuggester
from hamlet.suggest.chips.writer import ChipWriter, DraftWriter
from hamlet.suggest.content import Content, PackError, load_content
from hamlet.suggest.content_editor import ContentEditor
from hamlet.suggest.demo import DemoState, FaultInjectingSource, FaultInjectingWriter
from hamlet.suggest.event_store import EventStore
from hamlet.suggest.item_tokens import TokenSigner
from hamlet.suggest.links.suggester import LinkSuggester
from hamlet.suggest.links.web_search import WebSearch
from hamlet.suggest.metrics import ScreenMetrics
from hamlet.suggest.model import Draft
from hamlet.suggest.retrieval import Embedder, load_encoder
from hamlet.suggest.served_content import ContentHolder, ServedContent
from hamlet.suggest.service import SuggestService

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
        config = loaded.config.suggest
        secret = _secret(config)
        hash_key = key_hasher(secret)
        self._log = log
        self._registries = registries
        self._tasks: set[asyncio.Task[None]] = set()
        self.has_model = bool(config.chip_route)
        self.has_web = bool(config.sources)
        self.demo_state = DemoState() if config.demo else None
        self.signer = TokenSigner(secret)
        self.events = EventStore(config.events_db, metrics.on_event)
        self.editor = _build_editor(loaded, self._set_content)
        self._content = ContentHolder(_build_served_content(self.editor.content))
        self._explorer = Explorer() if config.explore else None
        self._embedder = _load_embedder(config, log)
        self.web = WebSearch(self._web_sources, hedge_after_s=config.hedge_after_s)
        writer = _build_writer(config, gateway, self.demo_state)
        response_cache = ResponseCache()
        link_cache = _build_link_cache(config, response_cache.invalidate)
        chip_cache = _build_chip_cache(config, response_cache.invalidate)
        links = LinkSuggester(self._catalogue, self.web, link_cache, hash_key)
        chips = ChipSuggester(
            lambda: self._content.current.bank, writer, chip_cache, hash_key, self._explorer
        )
        self.service = SuggestService(
            self._content, links, chips, response_cache, self.signer, metrics.on_suggestions
        )

    def _catalogue(self) -> SupportsSearch:
        return self._content.current.catalogue

    def _web_sources(self) -> Mapping[str, SupportsSearch]:
        """Those of the configuration in use, which a reload replaces."""
        configured = self._registries.current.sources
        if self.demo_state is None:
            return configured
        return {"demo": FaultInjectingSource(self.demo_state, configured, self._catalogue)}

    def start(self) -> None:
        """Start the background tasks."""
        if self._embedder is not None:
            self._spawn(self._embed(self._embedder, self._content.current))
        if self._explorer is not None:
            self._spawn(self._refresh_counts(self._explorer))

    async def wait_until_indexed(self) -> None:
        """Wait until the vectors are computed."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def reload(self, loaded: LoadedConfig) -> None:
        """Read the packs again. Raises ConfigError, and then nothing changes."""
        try:
            await self.editor.reload()
        except PackError as error:
            raise _config_error(loaded, error) from None

    async def _set_content(self, content: Content) -> None:
        """Serve new content; its indexes are built anew only if its rows changed."""
        previous, served = self.editor.content, self._content.current
        if (content.links, content.chips) == (previous.links, previous.chips):
            self.service.set_content(ServedContent(served.catalogue, served.bank, content.pins))
            return
        # In a thread, since it takes tenths of a second in which the event loop serves calls.
        built = await asyncio.to_thread(_build_served_content, content)
        if self._embedder is not None:
            self._spawn(self._embed(self._embedder, built))
        self.service.set_content(built)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _embed(self, embedder: Embedder, content: ServedContent) -> None:
        start = time.perf_counter()
        catalogue: Any = content.catalogue
        await asyncio.to_thread(catalogue.embed, embedder)
        await asyncio.to_thread(content.bank.embed, embedder)
        self._log.info("suggest.embedded", seconds=round(time.perf_counter() - start, 1))

    async def _refresh_counts(self, explorer: Explorer) -> None:
        while True:
            explorer.set_counts(await self.events.decayed_counts(time.time()))
            await asyncio.sleep(_COUNTS_REFRESH_S)

    async def aclose(self) -> None:
        """Stop the background tasks and close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.service.aclose()
        await self.web.aclose()
        await self.events.aclose()
        if self._embedder is not None:
            self._embedder.close()


def check_packs(loaded: LoadedConfig) -> None:
    """Raise ConfigError if the packs of a configuration cannot be used."""
    packs = loaded.config.suggest.packs
    try:
        load_content(packs.folder, packs.off)
    except PackError as error:
        raise _config_error(loaded, error) from None


def _build_editor(
    loaded: LoadedConfig, on_change: Callable[[Content], Awaitable[None]]
) -> ContentEditor:
    packs = loaded.config.suggest.packs
    try:
        return ContentEditor(packs.folder, packs.off, on_change)
    except PackError as error:
        raise _config_error(loaded, error) from None


def _build_served_content(content: Content) -> ServedContent:
    catalogue = source_class("catalogue")(SourceSettings(), content.links)
    return ServedContent(catalogue, ChipBank(content), content.pins)


def _build_writer(
    config: SuggestConfig, gateway: Gateway, demo_state: DemoState | None
) -> DraftWriter | None:
    writer = ChipWriter(gateway, config.chip_route) if config.chip_route else None
    return writer if demo_state is None else FaultInjectingWriter(demo_state, writer)


def _build_link_cache(
    config: SuggestConfig, on_evict: Callable[[int], None]
) -> SwrCache[FoundLink]:
    store = _build_store(config, "links", FoundLink)
    fresh_s, stale_s = config.links_fresh_s, config.links_stale_s
    return SwrCache(fresh_s=fresh_s, stale_s=stale_s, store=store, on_evict=on_evict)


def _build_chip_cache(config: SuggestConfig, on_evict: Callable[[int], None]) -> SwrCache[Draft]:
    store = _build_store(config, "chips", Draft)
    fresh_s, stale_s = config.chips_fresh_s, config.chips_stale_s
    return SwrCache(fresh_s=fresh_s, stale_s=stale_s, store=store, on_evict=on_evict)


def _build_store(config: SuggestConfig, prefix: str, item_type: type[T]) -> CacheStore[T] | None:
    if config.redis is None:
        return None
    return RedisStore(config.redis.get_secret_value(), prefix, item_type)


def _load_embedder(config: SuggestConfig, log: Log) -> Embedder | None:
    if not config.embed:
        return None
    encoder, why_not = load_encoder()
    if encoder is None:
        log.warning("suggest.embed_unavailable", reason=why_not)
        return None
    return Embedder(encoder)


def _secret(config: SuggestConfig) -> bytes:
    """What signs item tokens and salts cache keys; random for this process if it is not set."""
    configured = config.token_secret
    return configured.get_secret_value().encode() if configured else secrets.token_bytes(32)


def _config_error(loaded: LoadedConfig, error: PackError) -> ConfigError:
    path = ("suggest", "packs", "folder")
    problem = ConfigProblem(".".join(path), loaded.source.line_of(path), str(error))
    return ConfigError(loaded.source.name, [problem])
