"""Everything wrong with a configuration, at once, with its line; and nothing secret in it."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from hamlet.config import ConfigError, load, loads
from hamlet.registry import Plugins, build_registry
from hamlet.testing import ScriptedProvider
from hamlet.testing.support import SilentLog

GROUP = "hamlet.providers"


def config_problems(text: str, plugins: Plugins | None = None) -> list[str]:
    try:
        build_registry(loads(text, "c.yaml"), SilentLog(), plugins)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def test_the_default_is_sound() -> None:
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
def test_what_is_no_configuration_is_refused(text: str, what: str) -> None:
    assert any(what in row for row in config_problems(text))


def test_unreadable_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        load(tmp_path / "nothing.yaml")


def test_secrets_come_from_files_beside_the_config(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-from-file\n")
    (tmp_path / "empty").write_text("\n")
    rows = "\n".join(
        f"  {name}: {{kind: openai, api_key: 'file:{name}'}}" for name in ("key", "empty", "none")
    )
    file = tmp_path / "c.yaml"
    file.write_text(
        f"providers:\n{rows}\nroutes: {{r: {{deployments: [{{provider: key, model: m}}]}}}}"
    )
    with pytest.raises(ConfigError) as caught:
        build_registry(load(file), SilentLog())
    told = str(caught.value)
    assert "empty.api_key: the file empty is empty" in told
    assert "none.api_key: the file none cannot be read" in told
    assert "key.api_key: the" not in told
    assert "sk-from-file" not in told


TWO_ACCOUNTS = """
providers: {mine: {kind: mine}}
routes: {r: {deployments: [{provider: mine, model: m}]}}
"""


class OutdatedProvider(ScriptedProvider):
    api_version = 0


class ProviderWithoutSettings:
    api_version = 1


class ProviderWithoutOperations:
    api_version = 1
    Settings = ScriptedProvider.Settings
    cards: dict = {}


class ProviderWithoutCards:
    api_version = 1
    Settings = ScriptedProvider.Settings


class ProviderThatRaises(ScriptedProvider):
    def __init__(self, settings, runtime) -> None:
        raise ValueError("no, with key sk-0123456789abc")


@pytest.mark.parametrize(
    ("plugin", "what"),
    [
        ("OutdatedProvider", "written for plugin API 0, this hamlet has 1"),
        ("ProviderWithoutSettings", "has no Settings"),
        ("ProviderWithoutOperations", "supports no operation"),
        ("ProviderWithoutCards", "has no cards"),
        ("ProviderThatRaises", "the plugin refuses: ValueError: no, with key [redacted]"),
        ("Missing", "cannot be loaded: AttributeError"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_refused(plugin: str, what: str) -> None:
    entry = EntryPoint("mine", f"{__name__}:{plugin}", GROUP)
    assert any(
        "providers.mine" in row and what in row
        for row in config_problems(TWO_ACCOUNTS, Plugins([entry]))
    )


def test_two_plugins_of_one_name_are_refused_and_both_named() -> None:
    twins = [EntryPoint("mine", "one:X", GROUP), EntryPoint("mine", "two:Y", GROUP)]
    (row,) = config_problems(TWO_ACCOUNTS, Plugins(twins))
    assert (
        row
        == "c.yaml:2: providers.mine.kind: two plugins are of kind 'mine': one:X and two:Y; uninstall one"
    )
    assert [r.status for r in Plugins(twins).describe_all()] == [row.partition("kind: ")[2]] * 2


def test_two_accounts_of_one_vendor_and_one_model_on_two_vendors(monkeypatch) -> None:
    monkeypatch.setenv("KEY_A", "sk-a-0123456789")
    monkeypatch.setenv("KEY_B", "sk-b-0123456789")
    registry = build_registry(
        loads(
            """
providers:
  team-a: {kind: openai, api_key: env:KEY_A}
  team-b: {kind: openai, api_key: env:KEY_B, organization: org-b}
  nebula: {kind: openai_compatible, base_url: "https://nebula.example/v1"}
routes:
  both: {tiers: [[{provider: team-a, model: gpt-4o}, {provider: team-b, model: gpt-4o, weight: 2}]]}
  one-model: {tiers: [[{provider: team-a, model: gpt-4o-2024-11-20, defaults: {temperature: 0.1}}], [{provider: nebula, model: gpt-4o}]]}
"""
        ),
        SilentLog(),
    )
    both = registry.route("both").tiers[0]
    assert [d.id for d in both] == ["team-a/gpt-4o", "team-b/gpt-4o"]
    assert both[0].provider.instance is not both[1].provider.instance
    first, second = (tier[0] for tier in registry.route("one-model").tiers)
    assert first.card.context_window == 128_000, "a dated version has its family's card"
    assert (first.provider.kind, second.provider.kind) == ("openai", "openai_compatible")
    assert "sk-a" not in repr(registry.providers)


def test_a_card_can_be_corrected_in_the_config() -> None:
    text = """
providers: {e: {kind: embedded}}
routes:
  r: {deployments: [{provider: e, model: embedded-chat, card: {context_window: 7}}]}
"""
    registry = build_registry(loads(text), SilentLog())
    card = registry.route("r").tiers[0][0].card
    assert (card.context_window, card.kind) == (7, "chat")
    assert any(
        "card.windw" in row for row in config_problems(text.replace("context_window", "windw"))
    )


@pytest.mark.parametrize("url", ["http://h/0", "redis://", "redis://h:port/0", "unix://", "h:6379"])
@pytest.mark.parametrize("section", ["fleet", "suggest"])
def test_a_url_that_is_no_redis_is_refused_with_its_line(section, url, monkeypatch) -> None:
    monkeypatch.setenv("REDIS", url)
    text = f"{section}:\n  redis: env:REDIS\nproviders: {{e: {{kind: embedded}}}}\nroutes: {{r: {{deployments: [{{provider: e, model: embedded-chat}}]}}}}"
    with pytest.raises(ConfigError) as caught:
        loads(text, "f.yaml").source.raise_if_problems()
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == (f"{section}.redis", 2)
    assert "a Redis URL looks like" in problem.message


def test_redis_without_its_extra_is_refused_and_its_url_not_repeated(monkeypatch) -> None:
    monkeypatch.setenv("REDIS", "redis://:canary@h:6379/0")
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(ConfigError, match=r"hamlet\[redis\]") as caught:
        loads(
            "fleet: {redis: env:REDIS}\nproviders: {}\nroutes: {}", "f.yaml"
        ).source.raise_if_problems()
    assert "canary" not in str(caught.value)
