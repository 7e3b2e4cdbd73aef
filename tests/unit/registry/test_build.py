"""How configuration rows become routes and deployments."""

from hamlet.config import ConfigError, loads
from hamlet.registry import Plugins, build_registry
from hamlet.testing.support import SilentLog


def config_problems(text: str, plugins: Plugins | None = None) -> list[str]:
    try:
        build_registry(loads(text, "c.yaml"), SilentLog(), plugins)
    except ConfigError as error:
        return str(error).splitlines()
    return []


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


def test_configuration_overrides_a_card() -> None:
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


def test_card_in_the_configuration_takes_a_plain_list_of_parameters(monkeypatch) -> None:
    monkeypatch.setenv("KEY", "sk-0123456789")
    text = """
providers: {o: {kind: openai, api_key: env:KEY}}
routes:
  r: {deployments: [{provider: o, model: gpt-4o, card: {params: [temperature, knob]}}]}
"""
    card = build_registry(loads(text), SilentLog()).route("r").tiers[0][0].card
    assert card.params == {"temperature", "knob"}
    assert any(
        "card.params" in row
        for row in config_problems(text.replace("[temperature, knob]", "sampling"))
    )
