"""Testers choose their arm or preview a user's; nobody else can."""

import orjson
import pytest

from hamlet.config.cutover import FeatureConfig
from hamlet.migration.feature import FeatureRuntime
from hamlet.migration.proxy import tester_override
from hamlet.migration.proxy.tester_override import ArmOverride
from hamlet.migration.rollout_document import FeatureState
from hamlet.testing.support import SilentLog
from support.migration import SilentObserver


@pytest.mark.parametrize(
    ("key", "headers", "override"),
    [
        (None, [(b"x-hamlet-tester", b"k"), (b"x-hamlet-arm", b"new")], None),
        ("k", [(b"x-hamlet-arm", b"new")], None),
        ("k", [(b"x-hamlet-tester", b"wrong"), (b"x-hamlet-arm", b"new")], None),
        ("k", [(b"x-hamlet-tester", b"k"), (b"x-hamlet-arm", b"new")], ArmOverride("new", False)),
        ("k", [(b"x-hamlet-tester", b"k"), (b"x-hamlet-arm", b"x")], ArmOverride(None, False)),
        ("k", [(b"x-hamlet-tester", b"k"), (b"x-hamlet-probe", b"u")], ArmOverride(None, True)),
    ],
)
def test_override_needs_the_key(key, headers, override) -> None:
    assert tester_override.TesterOverride(key).parse_override(headers) == override


def test_preview_names_the_arm_of_the_user() -> None:
    feature = FeatureRuntime(
        "chat", FeatureConfig(paths=["/api/chat"]), SilentObserver(), SilentLog()
    )
    scope = {"headers": [(b"x-hamlet-probe", b"user-1")]}
    for stage, arm in (("proxy", "legacy"), ("new", "new")):
        response = tester_override.TesterOverride("k").preview(
            feature, FeatureState(stage=stage), scope
        )
        assert orjson.loads(response.body) == {"feature": "chat", "step": stage, "arm": arm}
        assert response.headers["x-hamlet-arm"] == arm
