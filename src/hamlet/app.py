"""The composition root: the only place that sees everything."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from hamlet.api.auth import Keyring, ShadowKeyring
from hamlet.api.dispatcher import Dispatcher, HttpEndpoint
from hamlet.api.endpoints import health as shell
from hamlet.api.endpoints.admin import AdminContext, admin_router
from hamlet.api.openapi import extend_openapi
from hamlet.api.routes import model_endpoints
from hamlet.api.streaming import StreamTimings
from hamlet.config import FleetConfig, LoadedConfig, ServerConfig, load
from hamlet.gateway import Admission, Gateway, Observer, Observers, OverloadMonitor, Prober
from hamlet.net.server.asgi import ASGI, Receive, Scope, Send
from hamlet.registry import Deployment, Plugins, RegistryHolder, build_registry
from hamlet.routing import LoadBalancer, SyncTask
from hamlet.spi import Log
from hamlet.suggest.api import EventsEndpoint, events_endpoint, main_screen_endpoints
from hamlet.suggest.api.admin import SuggestAdminContext, suggest_admin
from hamlet.suggest.assembly import MainScreenComponents
from hamlet.suggest.metrics import ScreenMetrics
from hamlet.suggest.page import PageContext, add_page
from hamlet.telemetry import AccessLog, Metrics, RoutingMetrics, make_log
from hamlet.telemetry.background_writer import BackgroundWriter
from hamlet.telemetry.circuit_breaker_log import CircuitBreakerLog
from hamlet.telemetry.exposition import MetricSample
from hamlet.telemetry.routing_metrics import pool_samples
from hamlet.telemetry.usage_log import UsageLog

if TYPE_CHECKING:
    from hamlet.migration.assembly import Migration
    from hamlet.migration.proxy import MigrationProxy
    from hamlet.telemetry.spans import SpanObserver

_NEVER_S = 1e6
_LOOP_STALL_S = 0.25


class Hamlet:
    """The assembled application; an ASGI callable."""

    def __init__(
        self, loaded: LoadedConfig, *, log: Log | None = None, plugins: Plugins | None = None
    ) -> None:
        """Build everything. Raises ConfigError; opens no connection."""
        config = loaded.config
        self._writer: BackgroundWriter | None = None
        if log is None:
            self._writer = BackgroundWriter(sys.stderr)
            telemetry = config.telemetry
            log = make_log(telemetry.log_level, telemetry.log_format, cast(TextIO, self._writer))
        self.log = log
        self._loaded = loaded
        self._plugins = plugins or Plugins()
        self._reload_lock = asyncio.Lock()
        self._dispatchers: list[Dispatcher] = []
        self._migration_proxy: MigrationProxy | None = None
        self.draining = False
        self.metrics = Metrics(lambda *call: self._routing_metrics.is_avoidable_spill(*call))
        self.registries = RegistryHolder(build_registry(loaded, self.log, self._plugins))
        self.keyring = Keyring(config.keys)
        self.overload_monitor = OverloadMonitor(on_lag=self._on_loop_lag)
        usage = config.telemetry.usage_file
        self._usage_logs = [UsageLog(usage)] if usage is not None else []
        load_balancer = LoadBalancer()
        CircuitBreakerLog(load_balancer, self.log)
        self.access_log = AccessLog(self.log)
        self._span_exporters = _build_span_exporters(loaded, load_balancer)
        observers: list[Observer] = [
            self.metrics,
            self.access_log,
            *self._usage_logs,
            *self._span_exporters,
        ]
        self.observers = Observers(observers, self.log)
        self.gateway = Gateway(
            self.registries,
            Admission(
                config.server.max_in_flight, overload_level=lambda: self.overload_monitor.level
            ),
            self.observers,
            load_balancer,
        )
        self._register_metrics()
        self.gossip = self._build_gossip(config.fleet)
        self.prober = Prober(self.registries, self.gateway, self._process_count)
        self.migration = self._build_migration(loaded)
        endpoints = self._build_endpoints()
        self.fastapi_app = self._build_fastapi_app(endpoints)
        self._asgi = self._build_asgi_app(self.fastapi_app, endpoints, config.server)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._asgi(scope, receive, send)

    async def reload(self) -> None:
        """Read the file and the packs again and switch over.

        Raises ConfigError, and then nothing changes. What `server`, `telemetry`, `fleet.redis`
        and `fleet.group` and all of `suggest` but its sources and packs say is read at start only.
        """
        async with self._reload_lock:
            try:
                loaded = await asyncio.to_thread(load, self._loaded.path)
                registry = build_registry(loaded, self.log, self._plugins)
                await self.screen.reload(loaded)
            except Exception as error:
                self.metrics.count_reload("refused")
                self.log.error("config.refused", problems=str(error))
                raise
            drain_s = loaded.config.server.drain_s
            self._loaded, self.keyring = loaded, Keyring(loaded.config.keys)
            self.registries.swap(registry, drain_s)
            self.metrics.init_series(registry.routes)
            await self.prober.refresh()
            self.metrics.count_reload("ok")
            self.log.info("config.reloaded", source=loaded.source.name)

    def _build_migration(self, loaded: LoadedConfig) -> Migration | None:
        if loaded.config.cutover is None:
            return None
        # Proxying hamlet1 brings another HTTP client: only who moves pays for that.
        from hamlet.migration.assembly import Migration

        return Migration(loaded, self.metrics.exposition, self.gateway.admission, self.log)

    def _build_gossip(self, config: FleetConfig) -> SyncTask | None:
        if config.redis is None:
            return None

        def deployments() -> Iterator[Deployment]:
            for route in self.registries.current.routes.values():
                for tier in route.tiers:
                    yield from tier

        url, load_balancer = config.redis.get_secret_value(), self.gateway.load_balancer
        return SyncTask(
            load_balancer, url, config.group, deployments, self.log, self.metrics.set_shared_state
        )

    def _register_metrics(self) -> None:
        """Let metrics see what they read at a scrape."""
        self._routing_metrics = RoutingMetrics(
            self.gateway.load_balancer, lambda: self.registries.current.routes
        )
        self.metrics.init_series(self.registries.current.routes)
        self.metrics.exposition.add_source(self._routing_metrics.samples)
        self.metrics.exposition.add_source(self._metric_rows)

    def _metric_rows(self) -> list[MetricSample]:
        admission = self.gateway.admission
        return [
            ("hamlet_ready", (), self._is_ready()),
            ("hamlet_draining", (), self.draining),
            ("hamlet_build_info", (version("hamlet"),), 1),
            ("hamlet_calls_limit", (), admission.max_in_flight),
            ("hamlet_queue_depth", (), admission.queue_depth),
            ("hamlet_tasks", (), len(asyncio.all_tasks())),
            ("hamlet_distress_level", (), self.overload_monitor.level),
            ("hamlet_log_dropped_total", (), self._writer.dropped if self._writer else 0),
            ("hamlet_telemetry_errors_total", (), self.observers.failures),
            ("hamlet_usage_dropped_total", (), sum(each.dropped for each in self._usage_logs)),
            ("hamlet_spans_dropped_total", (), sum(each.dropped for each in self._span_exporters)),
            *pool_samples(self.registries.current.pool_stats()),
            *self._web_source_rows(),
        ]

    def _web_source_rows(self) -> Iterator[MetricSample]:
        for name, status in self.screen.web.status().items():
            yield "hamlet_web_source_open", (name,), status["state"] == "open"
            yield "hamlet_web_searches_total", (name, "ok"), status["answered"]
            yield "hamlet_web_searches_total", (name, "failed"), status["failed"]

    def _is_ready(self) -> bool:
        return not self.draining

    async def _render_metrics(self, accept: str) -> tuple[bytes, str]:
        return await self.metrics.exposition.render(accept)

    def admin_app(self) -> FastAPI:
        """Health and metrics, for a port of their own."""
        app = FastAPI(title="hamlet admin", docs_url=None, redoc_url=None, openapi_url=None)
        app.include_router(shell.health_router(self._is_ready, self._render_metrics))
        return app

    def _on_loop_lag(self, seconds: float) -> None:
        self.metrics.observe_loop_lag(seconds)
        if seconds > _LOOP_STALL_S:
            self.log.warning("loop.stalled", lag_ms=round(seconds * 1000, 1))

    def _process_count(self) -> int:
        return self.gossip.process_count if self.gossip else 1

    def start_draining(self) -> None:
        """Say on /readyz that no more traffic is wanted. What comes is still served."""
        self.draining = True

    def end_streams(self) -> int:
        """End what still runs, streams with an error in-band; returns how many there were."""
        self.gateway.admission.draining = True
        proxied = self._migration_proxy.abort_all() if self._migration_proxy else 0
        return proxied + sum(front.end_all() for front in self._dispatchers)

    def _build_endpoints(self) -> list[HttpEndpoint]:
        self.screen = MainScreenComponents(
            self._loaded,
            self.gateway,
            self.registries,
            self.log,
            ScreenMetrics(self.metrics.exposition),
        )
        admission = self.gateway.admission
        signer, events = self.screen.signer, self.screen.events
        taking = EventsEndpoint(events, signer, admission, lambda: self.keyring)
        return [*self._model_endpoints(lambda: self.keyring), events_endpoint(taking)]

    def _model_endpoints(self, keyring: Callable[[], Keyring]) -> list[HttpEndpoint]:
        """The routes that answer questions, for the callers of a keyring."""
        service, gateway = self.screen.service, self.gateway
        endpoints = model_endpoints(gateway, keyring, lambda: list(self.registries.current.routes))
        endpoints += main_screen_endpoints(service, gateway.admission, keyring)
        cutover = self.migration.config if self.migration else None
        if cutover is not None and cutover.chat_route is not None:
            from hamlet.migration.hamlet1 import hamlet1_endpoints

            endpoints += hamlet1_endpoints(gateway, service, keyring, cutover.chat_route)
        return endpoints

    def _build_fastapi_app(self, endpoints: list[HttpEndpoint]) -> FastAPI:
        # FastAPI's own pages load their scripts from a CDN: the document alone is served.
        app = FastAPI(
            title="hamlet",
            version=version("hamlet"),
            lifespan=self._lifespan,
            docs_url=None,
            redoc_url=None,
        )
        has_admin_port = self._loaded.config.telemetry.admin_port is not None
        app.include_router(
            shell.health_router(self._is_ready, None if has_admin_port else self._render_metrics)
        )
        parts = self.screen
        admin_context = AdminContext(
            lambda: self.keyring,
            self.reload,
            self.gateway.load_balancer,
            lambda: self.registries.current.routes,
        )
        acted_upon = SuggestAdminContext(parts.events, parts.editor, parts.service, parts.web)
        more = [suggest_admin(acted_upon)]
        if self.migration is not None:
            more.append(self.migration.status_router())
        app.include_router(admin_router(admin_context, *more))
        add_page(app, PageContext(parts.service, lambda: self.keyring, parts))
        shell.add_error_handlers(app, endpoints)
        extend_openapi(app, endpoints)
        return app

    def _build_asgi_app(
        self, app: ASGI, endpoints: list[HttpEndpoint], server: ServerConfig
    ) -> ASGI:
        dispatcher = self._build_dispatcher(app, endpoints, server, server.header_wait_s)
        front_app = _with_cors(dispatcher, server)
        if self.migration is None:
            return front_app
        # A status that goes out before there is content would leave nothing to rescue.
        new_dispatcher = self._build_dispatcher(app, endpoints, server, _NEVER_S)
        shadow_endpoints = self._model_endpoints(lambda: ShadowKeyring(self.keyring))
        shadow_dispatcher = self._build_dispatcher(app, shadow_endpoints, server, _NEVER_S)
        self._migration_proxy = self.migration.build_proxy(
            front_app, new_dispatcher, _with_cors(new_dispatcher, server), shadow_dispatcher
        )
        return self._migration_proxy

    def _build_dispatcher(
        self, app: ASGI, endpoints: list[HttpEndpoint], server: ServerConfig, header_wait_s: float
    ) -> Dispatcher:
        pacing = StreamTimings(header_wait_s, server.keepalive_s)
        dispatcher = Dispatcher(
            app,
            endpoints,
            max_body_bytes=server.max_body_bytes,
            timings=pacing,
            log=self.log,
            body_timeout_s=server.request_body_s,
            on_response=self.metrics.count_http_response,
        )
        self._dispatchers.append(dispatcher)
        return dispatcher

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        with _sighup_handler(loop, self._schedule_reload):
            self.screen.start()
            self.overload_monitor.start()
            await self.registries.current.warm()
            if self.gossip is not None:
                self.gossip.start()
            await self.prober.start()
            if self.migration is not None:
                await self.migration.start()
            try:
                yield
            finally:
                if self.migration is not None:
                    await self.migration.aclose()
                await self.prober.aclose()
                if self.gossip is not None:
                    await self.gossip.aclose()
                await self.overload_monitor.aclose()
                await self.screen.aclose()
                await self.registries.aclose()
                for usage in self._usage_logs:
                    await asyncio.to_thread(usage.close)
                for spans in self._span_exporters:
                    await asyncio.to_thread(spans.close)

    def _schedule_reload(self) -> None:
        self._reload_task = asyncio.get_running_loop().create_task(self._reload_or_keep())

    async def _reload_or_keep(self) -> None:
        try:
            await self.reload()
        except Exception as error:
            # reload() has logged it; serving goes on with the old configuration.
            self.log.debug("config.kept", error=type(error).__name__)


def create_app(path: Path | None = None) -> Hamlet:
    """The application for a config file; the built-in default if there is none."""
    return Hamlet(load(path))


def _with_cors(dispatcher: Dispatcher, server: ServerConfig) -> ASGI:
    if not server.cors_origins:
        return dispatcher
    return CORSMiddleware(
        dispatcher,
        allow_origins=server.cors_origins,
        allow_methods=("GET", "POST"),
        allow_headers=(
            "authorization",
            "content-type",
            "traceparent",
            "x-api-key",
            "x-request-budget-ms",
            "x-request-id",
        ),
        expose_headers=("x-request-id", "retry-after", "server-timing", "etag"),
    )


def _build_span_exporters(loaded: LoadedConfig, load_balancer: LoadBalancer) -> list[SpanObserver]:
    """The observer that sends traces, if the configuration asks for any."""
    telemetry = loaded.config.telemetry
    if telemetry.otlp is None:
        return []
    # The extra `otel` is installed: the configuration's validation has checked it.
    from hamlet.telemetry.spans import SpanObserver

    return [SpanObserver(load_balancer, telemetry.sample, telemetry.otlp)]


@contextmanager
def _sighup_handler(
    loop: asyncio.AbstractEventLoop, on_sighup: Callable[[], None]
) -> Iterator[None]:
    """React to SIGHUP, where there is such a signal and this thread may have it."""
    try:
        loop.add_signal_handler(signal.SIGHUP, on_sighup)
    except (NotImplementedError, RuntimeError, ValueError, AttributeError):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
