"""The file store's errors."""

import pytest

from hamlet.migration.file_store import FileStore
from hamlet.migration.state_store import StateUnavailable


def test_missing_or_invalid_file_is_unavailable_and_never_quoted(tmp_path) -> None:
    store = FileStore(tmp_path / "state.json")
    with pytest.raises(StateUnavailable, match="FileNotFoundError"):
        store.read()
    (tmp_path / "state.json").write_text('{"epoch": "secret"}')
    with pytest.raises(StateUnavailable) as caught:
        store.read()
    assert "secret" not in str(caught.value)
