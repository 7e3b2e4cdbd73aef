"""Routes each request of a migrating feature to one arm, with hamlet1 as the fallback."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from hamlet.api.dispatcher import request_id_of
from hamlet.api.http import Response
from hamlet.api.streaming import send_response
from hamlet.core.errors import HamletError, UpstreamUnavailable
from hamlet.migration.captured_response import CapturedResponse
from hamlet.migration.counters import ComparisonKind
from hamlet.migration.feature import FeatureRuntime, FeatureSet
from hamlet.migration.legacy_client import LegacyError
from hamlet.migration.local_state import LocalRolloutState
from hamlet.migration.proxy.asgi_messages import (
    BodyTooLarge,
    ResponseRecorder,
    read_body,
    receive_forever,
    replay_body,
)
from hamlet.migration.proxy.first_byte_timeout import FirstByteTimeout
from hamlet.migration.proxy.legacy_proxy import ClientDisconnected, LegacyProxy
from hamlet.migration.proxy.tester_override import TesterOverride
from hamlet.migration.rollout_document import FULL_SHARE_BP, Arm, FeatureState
from hamlet.migration.shadow import ShadowRunner
from hamlet.migration.window import ArmOutcome
from hamlet.net.server.asgi import ASGI, Receive, Scope, Send
from hamlet.spi import Log

RenderError = Callable[[str, str, HamletError, str], Response]
# The fraction of canary responses that are inspected for quality, and how much of each.
_INSPECTED_RATIO, _INSPECTED_BYTES = 0.02, 64 << 10
_REQUEST_ID = "hamlet.request_id"


@dataclass(frozen=True, slots=True)
class NewArm:
    """hamlet itself: serving users, and serving shadow calls, which are billed to no caller."""

    serve: ASGI
    serve_shadow: ASGI
    render_error: RenderError
    has_endpoint: Callable[[str, str], bool]


@dataclass(slots=True)
class _ProxiedRequest:
    """A request in progress, with the state of its feature when it arrived."""

    scope: Scope
    receive: Receive
    send: Send
    feature: FeatureRuntime
    state: FeatureState
    is_inspected: bool = False

    @property
    def request_id(self) -> str:
        """The client's own id, or one generated once for this request."""
        if _REQUEST_ID not in self.scope:
            self.scope[_REQUEST_ID] = _read_or_create_request_id(self.scope)
        found: str = self.scope[_REQUEST_ID]
        return found

    @property
    def capture_limit_bytes(self) -> int:
        """How much of the response is captured for inspection."""
        return _INSPECTED_BYTES if self.is_inspected else 0


class MigrationProxy:
    """An ASGI app in front of `app`: migrating features go to their arm, the rest to `app`."""

    def __init__(
        self,
        app: ASGI,
        new_arm: NewArm,
        legacy_proxy: LegacyProxy,
        local_state: LocalRolloutState,
        features: FeatureSet,
        shadow_runner: ShadowRunner,
        tester_override: TesterOverride,
        *,
        max_body_bytes: int,
        log: Log,
    ) -> None:
        self._app, self._new_arm, self._legacy_proxy = app, new_arm, legacy_proxy
        self._local_state, self._features, self._shadow_runner, self._tester_override = (
            local_state,
            features,
            shadow_runner,
            tester_override,
        )
        self._max_body_bytes, self._log = max_body_bytes, log

    def abort_all(self) -> int:
        """Abort all requests that are being forwarded to hamlet1; returns their number."""
        return self._legacy_proxy.abort_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        feature = self._features.match(scope["path"]) if scope["type"] == "http" else None
        if feature is None:
            return await self._app(scope, receive, send)
        state = self._local_state.feature_state(feature.name)
        override = self._tester_override.parse_override(scope["headers"])
        inspected = state.stage == "canary" and random.random() < _INSPECTED_RATIO
        request = _ProxiedRequest(scope, receive, send, feature, state, inspected)
        if override is not None and override.is_preview:
            return await self._preview(request)
        if state.stage == "retired":
            return await self._app(scope, receive, send)
        arm = override.arm if override is not None else None
        is_served_here = self._new_arm.has_endpoint(scope["method"], scope["path"])
        if arm == "legacy" or not is_served_here or (arm is None and state.share_bp == 0):
            return await self._serve_legacy(request)
        try:
            body = await read_body(receive, self._max_body_bytes)
        except ConnectionResetError:
            return None
        except BodyTooLarge as error:
            return await self._stream_oversized_body(request, error)
        if arm == "new" or self._is_in_new_cohort(request, body):
            return await self._serve_new_with_fallback(request, body)
        return await self._serve_legacy(request, body)

    def _is_in_new_cohort(self, request: _ProxiedRequest, body: bytes) -> bool:
        """Whether the new arm serves this user: the same on every replica."""
        feature, share_bp = request.feature, request.state.share_bp
        if share_bp >= FULL_SHARE_BP:
            return True
        key = feature.key_extractor.extract(request.scope["headers"], body) or request.request_id
        return feature.cohort.bucket(key) < share_bp

    # -- the arms

    async def _serve_legacy(self, request: _ProxiedRequest, body: bytes | None = None) -> None:
        """Serve from hamlet1; the request may be repeated as a shadow call afterwards."""
        kind = self._shadow_runner.choose_comparison(request.feature, request.state, "legacy")
        if kind is not None and body is None:
            try:
                body = await read_body(request.receive, self._max_body_bytes)
            except ConnectionResetError:
                return
            except BodyTooLarge as error:
                return await self._stream_oversized_body(request, error)
        limit = self._shadow_runner.max_response_bytes if kind else request.capture_limit_bytes
        recorder = ResponseRecorder(request.send, capture_limit_bytes=limit)
        outcome = await self._proxy_to_legacy(request, body, recorder)
        self._record_request(request, "legacy", outcome, recorder)
        if kind is None or body is None or outcome not in ("ok", "client_error"):
            return
        buffered_body = body

        async def shadow_call() -> CapturedResponse:
            if kind == "noise":
                return await self._legacy_proxy.call_in_shadow(
                    request.scope, buffered_body, self._shadow_runner.max_response_bytes
                )
            return await self._call_new_in_shadow(request, buffered_body)

        self._shadow_runner.start_comparison(
            request.feature, kind, recorder.captured_response(), shadow_call, request.request_id
        )

    async def _serve_new_with_fallback(self, request: _ProxiedRequest, body: bytes) -> None:
        """Serve from the new arm; if it fails before its first byte, serve from hamlet1."""
        kind = self._shadow_runner.choose_comparison(request.feature, request.state, "new")
        limit = self._shadow_runner.max_response_bytes if kind else request.capture_limit_bytes
        timeout = FirstByteTimeout(request.feature.config.rescue_after_s)
        recorder = ResponseRecorder(
            request.send, hold_errors=True, capture_limit_bytes=limit, on_start=timeout.cancel
        )
        reason = "status"
        try:
            await self._new_arm.serve(request.scope, replay_body([body], request.receive), recorder)
        except asyncio.CancelledError:
            if not timeout.consume_cancellation():
                raise
            reason = "timeout"
        except Exception as error:
            self._log.error("cutover.new_arm_failed", request_id=request.request_id, exc_info=error)
            reason = "exception"
        finally:
            timeout.cancel()
        if recorder.has_started or (reason == "status" and not recorder.held_messages):
            # The response has started, or the client has disconnected.
            outcome: ArmOutcome = "ok" if recorder.has_started else "cancelled"
            self._record_request(
                request, "new", "failed" if _failed_mid_stream(recorder) else outcome, recorder
            )
            if kind is not None and outcome == "ok" and not _failed_mid_stream(recorder):
                self._start_reverse_comparison(request, kind, body, recorder.captured_response())
            return None
        await self._fall_back_to_legacy(request, body, recorder, reason)

    async def _fall_back_to_legacy(
        self, request: _ProxiedRequest, body: bytes, new_response: ResponseRecorder, reason: str
    ) -> None:
        legacy_response = ResponseRecorder(request.send)
        try:
            await self._legacy_proxy.forward_to_legacy(
                request.scope, request.receive, legacy_response, body
            )
        except ClientDisconnected:
            return self._record_request(request, "new", "cancelled", new_response)
        except LegacyError as error:
            if error.response_started:
                return self._record_request(request, "new", "failed", new_response)
            # Both arms failed: the new arm's error is the one to return.
            await new_response.send_held_messages(request.send)
            if not new_response.held_messages:
                await self._send_unreachable(request)
            return self._record_request(request, "new", "failed", new_response)
        agreed = 400 <= new_response.status < 500 and 400 <= legacy_response.status < 500
        if not agreed:
            request.feature.observer.on_rescue(request.feature.name, reason)
            self._log.warning(
                "cutover.rescued",
                feature=request.feature.name,
                request_id=request.request_id,
                reason=reason,
                status=new_response.status,
            )
        self._record_request(request, "new", "client_error" if agreed else "rescued", new_response)

    async def _proxy_to_legacy(
        self, request: _ProxiedRequest, body: bytes | None, recorder: ResponseRecorder
    ) -> ArmOutcome:
        try:
            await self._legacy_proxy.forward_to_legacy(
                request.scope, request.receive, recorder, body
            )
        except ClientDisconnected:
            return "cancelled"
        except LegacyError as error:
            self._log.error(
                "cutover.legacy_failed",
                feature=request.feature.name,
                request_id=request.request_id,
                error=str(error),
                begun=error.response_started,
            )
            if not error.response_started:
                await self._send_unreachable(request)
            return "failed"
        if recorder.is_server_failure:
            return "failed"
        return "client_error" if recorder.status >= 400 else "ok"

    def _start_reverse_comparison(
        self, request: _ProxiedRequest, kind: ComparisonKind, body: bytes, served: CapturedResponse
    ) -> None:
        """Repeat on hamlet1 what the new arm has served."""

        async def shadow_call() -> CapturedResponse:
            return await self._legacy_proxy.call_in_shadow(
                request.scope, body, self._shadow_runner.max_response_bytes
            )

        self._shadow_runner.start_comparison(
            request.feature, kind, served, shadow_call, request.request_id
        )

    async def _call_new_in_shadow(self, request: _ProxiedRequest, body: bytes) -> CapturedResponse:
        async def drop_message(message: object) -> None:
            return None

        recorder = ResponseRecorder(
            drop_message, capture_limit_bytes=self._shadow_runner.max_response_bytes
        )
        marked = [pair for pair in request.scope["headers"] if pair[0] != b"x-request-id"]
        marked.append((b"x-request-id", f"shadow-{request.request_id}"[:64].encode()))
        # The shadow call goes on even if the user disconnects.
        scope = {**request.scope, "headers": marked, "extensions": {}}
        await self._new_arm.serve_shadow(scope, replay_body([body], receive_forever), recorder)
        return recorder.captured_response()

    # -- helpers

    async def _preview(self, request: _ProxiedRequest) -> None:
        """Tell a tester which arm a user would get, without calling one."""
        # Responding before the body has arrived would cost the client a delayed acknowledgement.
        with suppress(ConnectionResetError, BodyTooLarge):
            await read_body(request.receive, self._max_body_bytes)
        response = self._tester_override.preview(request.feature, request.state, request.scope)
        await send_response(request.send, response)

    def _record_request(
        self, request: _ProxiedRequest, arm: Arm, outcome: ArmOutcome, recorder: ResponseRecorder
    ) -> None:
        inspected_response = (
            recorder.captured_response() if request.is_inspected and outcome == "ok" else None
        )
        first_s, total_s, epoch = recorder.first_byte_s, recorder.elapsed_s, request.state.changed
        request.feature.record_request(
            arm, outcome, first_s, total_s, epoch=epoch, inspected_response=inspected_response
        )

    async def _stream_oversized_body(self, request: _ProxiedRequest, error: BodyTooLarge) -> None:
        """hamlet1 may accept bodies that hamlet does not buffer: forward them as they arrive."""
        receive = replay_body(error.parts, request.receive, more_body=True)
        recorder = ResponseRecorder(request.send)
        streamed = replace(request, receive=receive)
        self._record_request(
            request, "legacy", await self._proxy_to_legacy(streamed, None, recorder), recorder
        )

    async def _send_unreachable(self, request: _ProxiedRequest) -> None:
        error = UpstreamUnavailable("the service behind this path cannot be reached")
        scope = request.scope
        refusal = self._new_arm.render_error(
            scope["method"], scope["path"], error, request.request_id
        )
        await send_response(request.send, refusal)


def _failed_mid_stream(recorder: ResponseRecorder) -> bool:
    return recorder.has_started and recorder.is_server_failure


def _read_or_create_request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return request_id_of({"x-request-id": value.decode("latin-1")})
    return f"req_{secrets.token_hex(12)}"
