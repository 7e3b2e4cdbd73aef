"""hamlet-acme of the release before, unchanged (b1e5b88): such a plugin must pass the kit."""

import sys
import warnings
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
with warnings.catch_warnings():
    # Elsewhere in the suite a warning is an error.
    warnings.simplefilter("ignore", DeprecationWarning)
    import hamlet_acme


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(
                pytest.mark.filterwarnings("ignore:.*old name works:DeprecationWarning")
            )


@pytest.fixture(autouse=True)
def the_copy_in_this_folder() -> None:
    assert Path(hamlet_acme.__file__).is_relative_to(HERE)
