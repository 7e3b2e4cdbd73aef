"""The crossing: for each request of a moving feature, one arm answers, and another may save it."""

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
from hamlet.migration import Answer, Arm, Feature, FeatureState, Shadow, View
from hamlet.migration.feature import Features
from hamlet.migration.legacy import LegacyError
from hamlet.migration.model import WHOLE
from hamlet.migration.proxy.legacy_proxy import Left, Passage
from hamlet.migration.proxy.limit import Limits
from hamlet.migration.proxy.tester_override import Tester
from hamlet.migration.proxy.wire import TooMuch, Watched, read_body, replay, stays
from hamlet.migration.tally import Kind
from hamlet.migration.window import Outcome
from hamlet.net.server.asgi import ASGI, Receive, Scope, Send
from hamlet.spi import Log

Refuse = Callable[[str, str, HamletError, str], Response]
# How many answers are looked into for being empty, cut or refusals, and how much of each.
_INSPECTED, _INSPECTED_BYTES = 0.02, 64 << 10
_REQUEST_ID = "hamlet.request_id"


@dataclass(frozen=True, slots=True)
class NewArm:
    """hamlet's own answer: to users, and in the dark, where no caller is billed for it."""

    serve: ASGI
    serve_dark: ASGI
    refuse: Refuse
    knows: Callable[[str, str], bool]


@dataclass(slots=True)
class _Crossing:
    """One request under way."""

    scope: Scope
    receive: Receive
    send: Send
    feature: Feature
    state: FeatureState
    inspected: bool = False

    @property
    def request_id(self) -> str:
        """The client's own, or one that stays the same for this request."""
        if _REQUEST_ID not in self.scope:
            self.scope[_REQUEST_ID] = _id_of(self.scope)
        found: str = self.scope[_REQUEST_ID]
        return found

    @property
    def keep(self) -> int:
        """How much of the answer is kept to be looked into."""
        return _INSPECTED_BYTES if self.inspected else 0


class Crossing:
    """ASGI in front of `app`: features that move go to their arm, everything else to `app`."""

    def __init__(
        self,
        app: ASGI,
        new: NewArm,
        passage: Passage,
        view: View,
        features: Features,
        shadow: Shadow,
        tester: Tester,
        *,
        max_body_bytes: int,
        log: Log,
    ) -> None:
        self._app, self._new, self._passage = app, new, passage
        self._view, self._features, self._shadow, self._tester = view, features, shadow, tester
        self._max_body_bytes, self._log = max_body_bytes, log
        self._limits = {n: Limits(f.config.rescue_after_s) for n, f in features.all.items()}

    def end_all(self) -> int:
        """Break off what passes through to hamlet1; returns how much that was."""
        return self._passage.end_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        feature = self._features.at(scope["path"]) if scope["type"] == "http" else None
        if feature is None:
            return await self._app(scope, receive, send)
        state = self._view.state(feature.name)
        wish = self._tester.wish(scope["headers"])
        inspected = state.stage == "canary" and random.random() < _INSPECTED
        one = _Crossing(scope, receive, send, feature, state, inspected)
        if wish is not None and wish.probe:
            return await self._told(one)
        if state.stage == "retired":
            return await self._app(scope, receive, send)
        arm = wish.arm if wish is not None else None
        known = self._new.knows(scope["method"], scope["path"])
        if arm == "legacy" or not known or (arm is None and state.share_bp == 0):
            return await self._legacy(one)
        try:
            body = await read_body(receive, self._max_body_bytes)
        except ConnectionResetError:
            return None
        except TooMuch as error:
            return await self._too_much(one, error)
        if arm == "new" or self._chosen(one, body):
            return await self._saved(one, body)
        return await self._legacy(one, body)

    def _chosen(self, one: _Crossing, body: bytes) -> bool:
        """Whether the new arm answers: the same for the same user, on every replica."""
        feature, share_bp = one.feature, one.state.share_bp
        if share_bp >= WHOLE:
            return True
        key = feature.keys.key(one.scope["headers"], body) or one.request_id
        return feature.cohort.bucket(key) < share_bp

    # -- the arms

    async def _legacy(self, one: _Crossing, body: bytes | None = None) -> None:
        """hamlet1 answers; what it said may be tried on the new arm afterwards."""
        kind = self._shadow.wants(one.feature, one.state, "legacy")
        if kind is not None and body is None:
            try:
                body = await read_body(one.receive, self._max_body_bytes)
            except ConnectionResetError:
                return
            except TooMuch as error:
                return await self._too_much(one, error)
        keep = self._shadow.most_bytes if kind else one.keep
        watched = Watched(one.send, keep=keep)
        outcome = await self._pass(one, body, watched)
        self._ended(one, "legacy", outcome, watched)
        if kind is None or body is None or outcome not in ("ok", "client_error"):
            return
        whole = body

        async def attempt() -> Answer:
            if kind == "noise":
                return await self._passage.again(one.scope, whole, self._shadow.most_bytes)
            return await self._in_the_dark(one, whole)

        self._shadow.begin(one.feature, kind, watched.answer(), attempt, one.request_id)

    async def _saved(self, one: _Crossing, body: bytes) -> None:
        """The new arm answers; if it cannot, before its first byte, hamlet1 does."""
        last = one.state.stage == "new"
        kind = self._shadow.wants(one.feature, one.state, "new") if last else None
        keep = self._shadow.most_bytes if kind else one.keep
        limit = self._limits[one.feature.name].begin()
        watched = Watched(one.send, hold=True, keep=keep, began=limit.cancel)
        reason = "status"
        try:
            await self._new.serve(one.scope, replay([body], one.receive), watched)
        except asyncio.CancelledError:
            if not limit.hit():
                raise
            reason = "timeout"
        except Exception as error:
            self._log.error("cutover.new_arm_failed", request_id=one.request_id, exc_info=error)
            reason = "exception"
        finally:
            limit.cancel()
        if watched.started or (reason == "status" and not watched.held):
            # It has begun, or the client has gone.
            outcome: Outcome = "ok" if watched.started else "cancelled"
            self._ended(one, "new", "failed" if _broken(watched) else outcome, watched)
            if kind is not None and outcome == "ok" and not _broken(watched):
                self._reverse(one, kind, body, watched.answer())
            return None
        await self._rescue(one, body, watched, reason)

    async def _rescue(self, one: _Crossing, body: bytes, failed: Watched, reason: str) -> None:
        saved = Watched(one.send)
        try:
            await self._passage.through(one.scope, one.receive, saved, body)
        except Left:
            return self._ended(one, "new", "cancelled", failed)
        except LegacyError as error:
            if error.begun:
                return self._ended(one, "new", "failed", failed)
            # Both are down: what the new arm had to say is said after all.
            await failed.release(one.send)
            if not failed.held:
                await self._unreachable(one)
            return self._ended(one, "new", "failed", failed)
        agreed = 400 <= failed.status < 500 and 400 <= saved.status < 500
        if not agreed:
            one.feature.observer.rescued(one.feature.name, reason)
            self._log.warning(
                "cutover.rescued",
                feature=one.feature.name,
                request_id=one.request_id,
                reason=reason,
                status=failed.status,
            )
        self._ended(one, "new", "client_error" if agreed else "rescued", failed)

    async def _pass(self, one: _Crossing, body: bytes | None, watched: Watched) -> Outcome:
        try:
            await self._passage.through(one.scope, one.receive, watched, body)
        except Left:
            return "cancelled"
        except LegacyError as error:
            self._log.error(
                "cutover.legacy_failed",
                feature=one.feature.name,
                request_id=one.request_id,
                error=str(error),
                begun=error.begun,
            )
            if not error.begun:
                await self._unreachable(one)
            return "failed"
        if watched.failed:
            return "failed"
        return "client_error" if watched.status >= 400 else "ok"

    def _reverse(self, one: _Crossing, kind: Kind, body: bytes, answer: Answer) -> None:
        """Ask hamlet1 afterwards what the new arm has answered."""

        async def attempt() -> Answer:
            return await self._passage.again(one.scope, body, self._shadow.most_bytes)

        self._shadow.begin(one.feature, kind, answer, attempt, one.request_id)

    async def _in_the_dark(self, one: _Crossing, body: bytes) -> Answer:
        async def nowhere(message: object) -> None:
            return None

        watched = Watched(nowhere, keep=self._shadow.most_bytes)
        marked = [pair for pair in one.scope["headers"] if pair[0] != b"x-request-id"]
        marked.append((b"x-request-id", f"shadow-{one.request_id}"[:64].encode()))
        # Whose client stays, whatever becomes of the one that is served.
        scope = {**one.scope, "headers": marked, "extensions": {}}
        await self._new.serve_dark(scope, replay([body], stays), watched)
        return watched.answer()

    # -- odds and ends

    async def _told(self, one: _Crossing) -> None:
        """Say where a request would go, and ask no arm."""
        # Answering before the body is there would cost its sender a delayed acknowledgement.
        with suppress(ConnectionResetError, TooMuch):
            await read_body(one.receive, self._max_body_bytes)
        told = self._tester.told(one.feature, one.state, one.scope)
        await send_response(one.send, told)

    def _ended(self, one: _Crossing, arm: Arm, outcome: Outcome, watched: Watched) -> None:
        looked = watched.answer() if one.inspected and outcome == "ok" else None
        first_s, total_s, epoch = watched.first_s, watched.elapsed_s, one.state.changed
        one.feature.ended(arm, outcome, first_s, total_s, epoch=epoch, looked=looked)

    async def _too_much(self, one: _Crossing, error: TooMuch) -> None:
        """hamlet1 may take what hamlet refuses to hold: it passes through as it comes."""
        receive = replay(error.parts, one.receive, more=True)
        watched = Watched(one.send)
        streamed = replace(one, receive=receive)
        self._ended(one, "legacy", await self._pass(streamed, None, watched), watched)

    async def _unreachable(self, one: _Crossing) -> None:
        error = UpstreamUnavailable("the service behind this path cannot be reached")
        scope = one.scope
        refusal = self._new.refuse(scope["method"], scope["path"], error, one.request_id)
        await send_response(one.send, refusal)


def _broken(watched: Watched) -> bool:
    return watched.started and watched.failed


def _id_of(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return request_id_of({"x-request-id": value.decode("latin-1")})
    return f"req_{secrets.token_hex(12)}"
