"""Plugins that break the contract or have the same name."""

from importlib.metadata import EntryPoint

import pytest

from hamlet.config import ConfigError, loads
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
def test_plugin_that_breaks_the_contract_is_rejected(plugin: str, what: str) -> None:
    entry = EntryPoint("mine", f"{__name__}:{plugin}", GROUP)
    assert any(
        "providers.mine" in row and what in row
        for row in config_problems(TWO_ACCOUNTS, Plugins([entry]))
    )


def test_two_plugins_of_one_kind_are_rejected_by_name() -> None:
    twins = [EntryPoint("mine", "one:X", GROUP), EntryPoint("mine", "two:Y", GROUP)]
    (row,) = config_problems(TWO_ACCOUNTS, Plugins(twins))
    assert (
        row
        == "c.yaml:2: providers.mine.kind: two plugins are of kind 'mine': one:X and two:Y; uninstall one"
    )
    assert [r.status for r in Plugins(twins).describe_all()] == [row.partition("kind: ")[2]] * 2
