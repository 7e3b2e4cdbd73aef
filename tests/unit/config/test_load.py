"""All problems of a configuration are reported at once, with their lines and no secret."""

from pathlib import Path

import pytest

from hamlet.config import ConfigError, load, loads
from hamlet.registry import Plugins, build_registry
from hamlet.testing.support import SilentLog


def config_problems(text: str, plugins: Plugins | None = None) -> list[str]:
    try:
        build_registry(loads(text, "c.yaml"), SilentLog(), plugins)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def test_default_configuration_is_valid() -> None:
    assert build_registry(load(), SilentLog()).routes.keys() == {"hamlet", "hamlet-embed"}


def test_all_errors_are_reported_with_path_and_line(monkeypatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    text = """
server: {prot: 80}
providers:
  openai:
    kind: openai
    api_keey: env:X
  azure:
    kind: openai
    api_key: env:NO_SUCH_KEY
  typed:
    kind: openai
    connect_timeout_s: soon
  odd: {kind: opnai}
  odd: {kind: embedded}
  inline: {kind: openai, api_key: sk-inline-123456789}
  embedded: {kind: embedded}
routes:
  one: {deployments: [{provider: embeded, model: m}]}
  two: {operation: embeddings, deployments: [{provider: embedded, model: embedded-chat}]}
  three:
    deployments:
      - {provider: embedded, model: embedded-chat}
      - {provider: embedded, model: embedded-chat}
  four: {deployments: [], tiers: []}
  five: {tiers: [[]]}
  six: {deployments: [{provider: embedded, model: m}], policy: {atempts: 2, idle_s: -1}}
keys:
  - {name: k, secret: env:NO_SUCH_KEY, routes: [onn]}
  - {name: k, hash: "sha256:00"}
"""
    found = "\n".join(config_problems(text))
    for line, where, what in [
        (2, "server.prot", "unknown key (did you mean port?)"),
        (6, "providers.openai.api_keey", "unknown key (did you mean api_key?)"),
        (9, "providers.azure.api_key", "the environment variable NO_SUCH_KEY is not set"),
        (12, "providers.typed.connect_timeout_s", "valid number"),
        (13, "providers.odd.kind", "no plugin of kind 'opnai' is installed (did you mean openai?)"),
        (14, "providers.odd", "duplicate name"),
        (15, "providers.inline.api_key", "never inline"),
        (18, "routes.one.deployments[0].provider", "no such provider (did you mean embedded?)"),
        (19, "routes.two.deployments[0].model", "does not do embeddings"),
        (20, "routes.three", "duplicate deployment: embedded/embedded-chat"),
        (24, "routes.four", "exactly one of tiers and deployments"),
        (25, "routes.five.tiers", "a tier is empty"),
        (26, "routes.six.policy.atempts", "unknown key (did you mean attempts?)"),
        (26, "routes.six.policy.idle_s", "greater than 0"),
        (28, "keys[0].secret", "NO_SUCH_KEY is not set"),
        (29, "keys[1].hash", "pattern"),
    ]:
        assert any(
            row.startswith(f"c.yaml:{line}: {where}") and what in row for row in found.splitlines()
        ), f"{line} {where} {what}\n{found}"
    assert "sk-inline" not in found


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "providers: this key is needed"),
        ("- a", "a mapping is needed"),
        ("a: [", "not YAML"),
        ("a: !!python/object:os.system x", "not allowed"),
        ("a: " + "[" * 60 + "]" * 60, "too many or too deep"),
        ("\x00", "not YAML"),
    ],
)
def test_invalid_document_is_rejected(text: str, what: str) -> None:
    assert any(what in row for row in config_problems(text))


def test_unreadable_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        load(tmp_path / "nothing.yaml")
