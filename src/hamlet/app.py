"""The composition root: the only module that knows every other part."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

from fastapi import FastAPI

from hamlet.api.auth import Keyring, ShadowKeyring
from hamlet.api.cors import with_cors
from hamlet.api.dispatcher import Dispatcher, HttpEndpoint
from hamlet.api.endpoint_table import model_endpoints
from hamlet.api.endpoints.admin import AdminContext, admin_router
from hamlet.api.endpoints.health import health_router
from hamlet.api.error_handlers import add_error_handlers
from hamlet.api.openapi import extend_openapi
from hamlet.api.streaming import StreamTimings
from hamlet.config import GatewayConfig, LoadedConfig, ServerConfig, load
from hamlet.gateway import Admission, Gateway, Observer, Observers, OverloadMonitor, Prober
from hamlet.net.server.asgi import ASGI, Receive, Scope, Send
from hamlet.registry import Deployment, Plugins, RegistryHolder, build_registry
from hamlet.routing import LoadBalancer, build_routing
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
        self._writer = None if log is not None else BackgroundWriter(sys.stderr)
        self.log = log or _make_log(config, self._writer)
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
        load_balancer, self.gossip = build_routing(
            config.fleet,
            self._deployments,
            self.log,
            CircuitBreakerLog(self.log).on_breaker_change,
            self.metrics.set_shared_state,
        )
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
        self.prober = Prober(self.registries, self.gateway, self._process_count)
        self.migration = self._build_migration(loaded)
        endpoints = self._build_endpoints()
        self.fastapi_app = self._build_fastapi_app(endpoints)
        self._asgi = self._build_asgi_app(self.fastapi_app, endpoints, config.server)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._asgi(scope, receive, send)

    async def reload(self) -> None:
        """Read the file and the packs again and switch over.

        Raises ConfigError for whatever a start would refuse, and then nothing changes. Only a start
        applies `server`, `telemetry`, `cutover`, `fleet.redis`, `fleet.group`, and of `suggest`
        everything but its sources and packs.
        """
        async with self._reload_lock:
            try:
                loaded = await asyncio.to_thread(load, self._loaded.path)
                _check_sections_read_at_start(loaded)
                registry = build_registry(loaded, self.log, self._plugins)
                await self.main_screen.reload(loaded)
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
        # Imports another HTTP client, which only a migration needs.
        from hamlet.migration.assembly import Migration

        return Migration(loaded, self.metrics.exposition, self.gateway.admission, self.log)

    def _deployments(self) -> Iterator[Deployment]:
        for route in self.registries.current.routes.values():
            for tier in route.tiers:
                yield from tier

    def _register_metrics(self) -> None:
        """Register what is read at a scrape."""
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
        for name, status in self.main_screen.web.status().items():
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
        app.include_router(health_router(self._is_ready, self._render_metrics))
        return app

    def _on_loop_lag(self, seconds: float) -> None:
        self.metrics.observe_loop_lag(seconds)
        if seconds > _LOOP_STALL_S:
            self.log.warning("loop.stalled", lag_ms=round(seconds * 1000, 1))

    def _process_count(self) -> int:
        return self.gossip.process_count if self.gossip else 1

    def start_draining(self) -> None:
        """Report on /readyz that no more traffic is wanted; requests are still served."""
        self.draining = True

    def end_streams(self) -> int:
        """End the calls in flight, streams with an in-band error; returns how many there were."""
        self.gateway.admission.draining = True
        proxied = self._migration_proxy.abort_all() if self._migration_proxy else 0
        return proxied + sum(dispatcher.end_all() for dispatcher in self._dispatchers)

    def _build_endpoints(self) -> list[HttpEndpoint]:
        self.main_screen = MainScreenComponents(
            self._loaded,
            self.gateway,
            self.registries,
            self.log,
            ScreenMetrics(self.metrics.exposition),
        )
        admission = self.gateway.admission
        signer, events = self.main_screen.signer, self.main_screen.events
        endpoint = EventsEndpoint(events, signer, admission, lambda: self.keyring)
        return [*self._model_endpoints(lambda: self.keyring), events_endpoint(endpoint)]

    def _model_endpoints(self, keyring: Callable[[], Keyring]) -> list[HttpEndpoint]:
        """The endpoints of chat, embeddings, models and the main screen, for one keyring."""
        service, gateway = self.main_screen.service, self.gateway
        endpoints = model_endpoints(gateway, keyring, lambda: list(self.registries.current.routes))
        endpoints += main_screen_endpoints(service, gateway.admission, keyring)
        if self.migration is not None:
            endpoints += self.migration.hamlet1_endpoints(gateway, service, keyring)
        return endpoints

    def _build_fastapi_app(self, endpoints: list[HttpEndpoint]) -> FastAPI:
        # No /docs and /redoc: they load their scripts from a CDN.
        app = FastAPI(
            title="hamlet",
            version=version("hamlet"),
            lifespan=self._lifespan,
            docs_url=None,
            redoc_url=None,
        )
        has_admin_port = self._loaded.config.telemetry.admin_port is not None
        app.include_router(
            health_router(self._is_ready, None if has_admin_port else self._render_metrics)
        )
        admin_context = AdminContext(
            lambda: self.keyring,
            self.reload,
            self.gateway.load_balancer,
            lambda: self.registries.current.routes,
        )
        screen = self.main_screen
        suggest_context = SuggestAdminContext(
            screen.events, screen.editor, screen.service, screen.web
        )
        extra_routers = [suggest_admin(suggest_context)]
        if self.migration is not None:
            extra_routers.append(self.migration.status_router())
        app.include_router(admin_router(admin_context, *extra_routers))
        add_page(app, PageContext(screen.service, lambda: self.keyring, screen))
        add_error_handlers(app, endpoints)
        extend_openapi(app, endpoints)
        return app

    def _build_asgi_app(
        self, app: ASGI, endpoints: list[HttpEndpoint], server: ServerConfig
    ) -> ASGI:
        dispatcher = self._build_dispatcher(app, endpoints, server, server.header_wait_s)
        front_app = with_cors(dispatcher, server.cors_origins)
        if self.migration is None:
            return front_app
        # Once a status has been sent, hamlet1 can no longer answer in the new arm's place.
        new_dispatcher = self._build_dispatcher(app, endpoints, server, _NEVER_S)
        shadow_endpoints = self._model_endpoints(lambda: ShadowKeyring(self.keyring))
        shadow_dispatcher = self._build_dispatcher(app, shadow_endpoints, server, _NEVER_S)
        self._migration_proxy = self.migration.build_proxy(
            front_app,
            new_dispatcher,
            with_cors(new_dispatcher, server.cors_origins),
            shadow_dispatcher,
        )
        return self._migration_proxy

    def _build_dispatcher(
        self, app: ASGI, endpoints: list[HttpEndpoint], server: ServerConfig, header_wait_s: float
    ) -> Dispatcher:
        dispatcher = Dispatcher(
            app,
            endpoints,
            max_body_bytes=server.max_body_bytes,
            timings=StreamTimings(header_wait_s, server.keepalive_s),
            log=self.log,
            body_timeout_s=server.request_body_s,
            on_response=self.metrics.count_http_response,
        )
        self._dispatchers.append(dispatcher)
        return dispatcher

    @asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """Start each part; at the end, or if one fails to start, close them in reverse order."""
        async with AsyncExitStack() as stack:
            stack.enter_context(_sighup_handler(asyncio.get_running_loop(), self._schedule_reload))
            for spans in self._span_exporters:
                stack.push_async_callback(asyncio.to_thread, spans.close)
            for usage in self._usage_logs:
                stack.push_async_callback(asyncio.to_thread, usage.close)
            stack.push_async_callback(self.registries.aclose)
            stack.push_async_callback(self.main_screen.aclose)
            self.main_screen.start()
            stack.push_async_callback(self.overload_monitor.aclose)
            self.overload_monitor.start()
            await self.registries.current.warm()
            if self.gossip is not None:
                stack.push_async_callback(self.gossip.aclose)
                self.gossip.start()
            stack.push_async_callback(self.prober.aclose)
            await self.prober.start()
            if self.migration is not None:
                stack.push_async_callback(self.migration.aclose)
                await self.migration.start()
            yield

    def _schedule_reload(self) -> None:
        self._reload_task = asyncio.get_running_loop().create_task(self._reload_or_keep())

    async def _reload_or_keep(self) -> None:
        try:
            await self.reload()
        except Exception as error:
            # reload() has logged it; the old configuration stays in force.
            self.log.debug("config.kept", error=type(error).__name__)


def _make_log(config: GatewayConfig, writer: BackgroundWriter | None) -> Log:
    telemetry = config.telemetry
    return make_log(telemetry.log_level, telemetry.log_format, cast(TextIO, writer))


def create_app(path: Path | None = None) -> Hamlet:
    """The application for a config file; the built-in default if there is none."""
    return Hamlet(load(path))


def _check_sections_read_at_start(loaded: LoadedConfig) -> None:
    """Check the sections that a reload does not apply. Raises ConfigError, as a start does."""
    if loaded.config.cutover is not None:
        from hamlet.migration.config_check import resolve_config

        resolve_config(loaded)


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
    """Handle SIGHUP, where the platform has it and this is the main thread."""
    try:
        loop.add_signal_handler(signal.SIGHUP, on_sighup)
    except (NotImplementedError, RuntimeError, ValueError, AttributeError):
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
