"""Testers may choose their arm, and ask where a request would go."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from hamlet.api.http import Response
from hamlet.migration import FeatureRuntime, FeatureState
from hamlet.net.server.asgi import Scope


@dataclass(frozen=True, slots=True)
class ArmOverride:
    """What a tester asks for: an arm, or only to be told."""

    arm: str | None
    is_preview: bool


class TesterOverride:
    """Knows testers by the key in `x-hamlet-tester`; without one there are none."""

    def __init__(self, key: str | None) -> None:
        self._key = key.encode() if key else None

    def parse_override(self, headers: Iterable[tuple[bytes, bytes]]) -> ArmOverride | None:
        """What the headers ask for, if they are a tester's."""
        if self._key is None:
            return None
        given = None
        for name, value in headers:
            if name == b"x-hamlet-tester":
                given = value
        if given is None or not hmac.compare_digest(given, self._key):
            return None
        sent = dict(headers)
        arm = sent.get(b"x-hamlet-arm", b"").decode("latin-1")
        return ArmOverride(arm if arm in ("legacy", "new") else None, b"x-hamlet-probe" in sent)

    def preview(self, feature: FeatureRuntime, state: FeatureState, scope: Scope) -> Response:
        """Where the user named in `x-hamlet-probe` would be sent. No arm is asked."""
        key = dict(scope["headers"])[b"x-hamlet-probe"].decode("latin-1")
        chosen = feature.cohort.bucket(key) < state.share_bp
        payload = {
            "feature": feature.name,
            "step": state.step_label,
            "arm": "new" if chosen else "legacy",
        }
        headers = {"x-hamlet-arm": payload["arm"], "cache-control": "no-store"}
        return Response(200, orjson.dumps(payload), headers)
