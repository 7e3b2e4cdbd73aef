"""What every store guarantees."""

import pytest

from hamlet.migration.rollout_document import FeatureState, RolloutDocument


def test_second_create_is_refused_and_changes_nothing(store) -> None:
    with pytest.raises(FileExistsError):
        store.create(RolloutDocument(epoch=9))
    assert store.read().epoch == 0


def test_transform_that_raises_changes_nothing(store) -> None:
    def refuse(document: RolloutDocument):
        raise LookupError

    with pytest.raises(LookupError):
        store.update(refuse)
    assert (store.read(), store.read_journal()) == (RolloutDocument(), [])


def test_update_returns_what_is_then_read(store) -> None:
    changed = RolloutDocument(epoch=1, features={"chat": FeatureState(stage="proxy")})
    assert store.update(lambda document: (changed, [])) == changed
    assert store.read() == changed
