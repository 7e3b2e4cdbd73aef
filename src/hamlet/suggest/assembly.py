"""The main screen put together: the half of the composition root that has content and caches."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping
from typing import Any, TypeVar

from hamlet.config import ConfigError, Loaded, Problem, SuggestConfig
from hamlet.gateway import Gateway
from hamlet.registry import RegistryHolder
from hamlet.registry.sources import source_class
from hamlet.spi import Log
from hamlet.spi.sources import FoundLink, SourceSettings, SupportsSearch
from hamlet.suggest import (
    ChipBank,
    ChipWriter,
    Draft,
    DynamicChips,
    Editor,
    EventStore,
    Explorer,
    Pool,
    RedisStore,
    RelatedLinks,
    Signer,
    Store,
    SuggestService,
    WebSearch,
    digest,
)
from hamlet.suggest.chips.writer import Writes
from hamlet.suggest.content import Content, PackError, load_content
from hamlet.suggest.demo import DemoWeb, DemoWriter, Stage
from hamlet.suggest.metrics import ScreenMetrics
from hamlet.suggest.retrieval import Embedder, load_encoder

T = TypeVar("T")
_LEARN_EVERY_S = 60.0


class MainScreenParts:
    """Service, content, caches and events of one process. Opens no connection by itself."""

    def __init__(
        self,
        loaded: Loaded,
        gateway: Gateway,
        registries: RegistryHolder,
        log: Log,
        metrics: ScreenMetrics,
    ) -> None:
        """Raises ConfigError if the packs cannot be used."""
        self._config = config = loaded.config.suggest
        self._log = log
        secret = _secret(config)
        self.signer = Signer(secret)
        self.events = EventStore(config.events_db, metrics.event)
        self.stage = Stage() if config.demo else None
        self.web = WebSearch(lambda: self._sources(registries), hedge_after_s=config.hedge_after_s)
        self._explorer = Explorer() if config.explore else None
        self._embedder = _embedder(config, log)
        self._tasks: set[asyncio.Task[None]] = set()
        try:
            self.editor = Editor(config.packs.folder, config.packs.off, self._use)
        except PackError as error:
            raise _refused(loaded, error) from None
        writer: Writes | None = None
        if config.chip_route:
            writer = ChipWriter(gateway, config.chip_route)
        self.has_model, self.has_web = writer is not None, bool(config.sources)
        if self.stage is not None:
            writer = DemoWriter(self.stage, writer)
        content = self.editor.content
        key = digest(secret)
        found: Pool[FoundLink] = Pool(
            fresh_s=config.links_fresh_s,
            stale_s=config.links_stale_s,
            store=_store(config, "links", FoundLink),
        )
        drafts: Pool[Draft] = Pool(
            fresh_s=config.chips_fresh_s,
            stale_s=config.chips_stale_s,
            store=_store(config, "chips", Draft),
        )
        self._indexed = source, bank = _index(content)
        links = RelatedLinks(source, self.web, found, key)
        chips = DynamicChips(bank, writer, drafts, key, self._explorer)
        self.service = SuggestService(links, chips, self.signer, content.pins, metrics.answered)

    def _sources(self, registries: RegistryHolder) -> Mapping[str, SupportsSearch]:
        real = registries.current.sources
        if self.stage is None:
            return real
        return {"demo": DemoWeb(self.stage, real, lambda: self._indexed[0])}

    def start(self) -> None:
        """Begin what goes on in the background."""
        if self._embedder is not None:
            self._spawn(self._embed(self._embedder, *self._indexed))
        if self._explorer is not None:
            self._spawn(self._learn(self._explorer))

    async def indexed(self) -> None:
        """Wait until the vectors are there."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def reload(self, loaded: Loaded) -> None:
        """Read the packs again. Raises ConfigError, and then nothing changes."""
        try:
            await self.editor.reload()
        except PackError as error:
            raise _refused(loaded, error) from None

    async def _use(self, content: Content) -> None:
        before = self.editor.content
        if (content.links, content.chips) != (before.links, before.chips):
            # Tenths of a second, in which the loop has calls to serve.
            self._indexed = await asyncio.to_thread(_index, content)
            if self._embedder is not None:
                self._spawn(self._embed(self._embedder, *self._indexed))
        self.service.use(*self._indexed, content.pins)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _embed(self, embedder: Embedder, source: Any, bank: ChipBank) -> None:
        start = time.perf_counter()
        await asyncio.to_thread(source.embed, embedder)
        await asyncio.to_thread(bank.embed, embedder)
        self._log.info("suggest.embedded", seconds=round(time.perf_counter() - start, 1))

    async def _learn(self, explorer: Explorer) -> None:
        while True:
            explorer.learn(await self.events.counts(time.time()))
            await asyncio.sleep(_LEARN_EVERY_S)

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


def _index(content: Content) -> tuple[Any, ChipBank]:
    """What finds the links and what finds the chips."""
    return source_class("catalogue")(SourceSettings(), content.links), ChipBank(content)


def check_packs(loaded: Loaded) -> None:
    """Raise ConfigError if the packs of a configuration cannot be used."""
    packs = loaded.config.suggest.packs
    try:
        load_content(packs.folder, packs.off)
    except PackError as error:
        raise _refused(loaded, error) from None


def _embedder(config: SuggestConfig, log: Log) -> Embedder | None:
    if not config.embed:
        return None
    encoder, why_not = load_encoder()
    if encoder is None:
        log.warning("suggest.embed_unavailable", reason=why_not)
        return None
    return Embedder(encoder)


def _store(config: SuggestConfig, prefix: str, kind: type[T]) -> Store[T] | None:
    return RedisStore(config.redis.get_secret_value(), prefix, kind) if config.redis else None


def _secret(config: SuggestConfig) -> bytes:
    """What signs item tokens and salts keys; one of its own for this process if none is set."""
    given = config.token_secret
    return given.get_secret_value().encode() if given else secrets.token_bytes(32)


def _refused(loaded: Loaded, error: PackError) -> ConfigError:
    path = ("suggest", "packs", "folder")
    problem = Problem(".".join(path), loaded.source.line(path), str(error))
    return ConfigError(loaded.source.name, [problem])
