"""Values that the sections of a configuration refuse."""

import sys

import pytest

from hamlet.config import ConfigError, loads


@pytest.mark.parametrize("url", ["http://h/0", "redis://", "redis://h:port/0", "unix://", "h:6379"])
@pytest.mark.parametrize("section", ["fleet", "suggest"])
def test_invalid_redis_url_is_rejected_with_its_line(section, url, monkeypatch) -> None:
    monkeypatch.setenv("REDIS", url)
    text = f"{section}:\n  redis: env:REDIS\nproviders: {{e: {{kind: embedded}}}}\nroutes: {{r: {{deployments: [{{provider: e, model: embedded-chat}}]}}}}"
    with pytest.raises(ConfigError) as caught:
        loads(text, "f.yaml").source.raise_if_problems()
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == (f"{section}.redis", 2)
    assert "a Redis URL looks like" in problem.message


def test_redis_without_its_extra_is_rejected_without_repeating_the_url(monkeypatch) -> None:
    monkeypatch.setenv("REDIS", "redis://:canary@h:6379/0")
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"hamlet\[redis\]") as caught:
        loads(
            "fleet: {redis: env:REDIS}\nproviders: {}\nroutes: {}", "f.yaml"
        ).source.raise_if_problems()
    assert "canary" not in str(caught.value)
