"""Lets testers choose an arm, or preview which arm a user would get."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from hamlet.api.http import Response
from hamlet.migration.feature import FeatureRuntime
from hamlet.migration.rollout_document import FeatureState
from hamlet.net.server.asgi import Scope


@dataclass(frozen=True, slots=True)
class ArmOverride:
    """A tester's request for an arm, or for a preview."""

    arm: str | None
    is_preview: bool


class TesterOverride:
    """Recognises testers by the key in `x-hamlet-tester`; none without a configured key."""

    def __init__(self, key: str | None) -> None:
        self._key = key.encode() if key else None

    def parse_override(self, headers: Iterable[tuple[bytes, bytes]]) -> ArmOverride | None:
        """The override in a tester's headers; None for everybody else."""
        if self._key is None:
            return None
        given = None
        for name, value in headers:
            if name == b"x-hamlet-tester":
                given = value
        if given is None or not hmac.compare_digest(given, self._key):
            return None
        fields = dict(headers)
        arm = fields.get(b"x-hamlet-arm", b"").decode("latin-1")
        return ArmOverride(arm if arm in ("legacy", "new") else None, b"x-hamlet-probe" in fields)

    def preview(self, feature: FeatureRuntime, state: FeatureState, scope: Scope) -> Response:
        """The arm that the user named in `x-hamlet-probe` would get. Calls no arm."""
        key = dict(scope["headers"])[b"x-hamlet-probe"].decode("latin-1")
        is_new = feature.cohort.bucket(key) < state.share_bp
        payload = {
            "feature": feature.name,
            "step": state.step_label,
            "arm": "new" if is_new else "legacy",
        }
        headers = {"x-hamlet-arm": payload["arm"], "cache-control": "no-store"}
        return Response(200, orjson.dumps(payload), headers)
