"""Cards in a plugin's TOML file, and the lists of parameters that they share."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from hamlet.core import ModelCard
from hamlet.spi import cards_from


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package without cards; its name is unique, since imports are cached."""
    path = tmp_path / f"cards_of_{tmp_path.name}"
    path.mkdir()
    (path / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return path


def read_cards(package: Path, toml: str) -> dict[str, ModelCard]:
    (package / "cards.toml").write_text(toml)
    return dict(cards_from(package.name))


def test_cards_share_a_named_list_of_parameters(package: Path) -> None:
    cards = read_cards(
        package,
        """
        [param_lists]
        sampling = ["temperature", "top_p"]
        [large]
        params = "sampling"
        [small]
        params = "sampling"
        """,
    )
    assert cards.keys() == {"large", "small"}, "the lists are not a model"
    for card in cards.values():
        assert card.params == {"temperature", "top_p"}


def test_plain_lists_and_cards_without_parameters_need_no_named_list(package: Path) -> None:
    cards = read_cards(package, '[plain]\nparams = ["seed"]\n[any]\ncontext_window = 7\n')
    assert cards == {
        "plain": ModelCard(params=frozenset({"seed"})),
        "any": ModelCard(context_window=7),
    }


@pytest.mark.parametrize(
    ("lists", "known"),
    [("", "nothing"), ('[param_lists]\nb = ["seed"]\na = []\n', "a, b")],
)
def test_unknown_name_of_a_list_is_refused(package: Path, lists: str, known: str) -> None:
    with pytest.raises(ValueError, match=r"cards\.toml of cards_of_") as refusal:
        read_cards(package, lists + '["acme-1"]\nparams = "samplin"\n')
    expected = f"card 'acme-1' has params 'samplin', but param_lists has {known}"
    assert str(refusal.value).endswith(expected)


def test_named_list_is_validated_as_a_plain_one(package: Path) -> None:
    with pytest.raises(ValidationError, match="params"):
        read_cards(package, '[param_lists]\nbad = [1]\n[m]\nparams = "bad"\n')
