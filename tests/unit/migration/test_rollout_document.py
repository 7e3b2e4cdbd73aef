"""Which of two states or documents wins."""

from hypothesis import given
from hypothesis import strategies as st

from hamlet.migration.rollout_document import (
    JournalEntry,
    RolloutDocument,
    least_exposed,
    reconcile,
)
from support.migration import feature_states


@given(feature_states, feature_states)
def test_lower_state_wins_with_every_hold(a, b) -> None:
    low = least_exposed(a, b)
    assert low.exposure == min(a.exposure, b.exposure)
    assert bool(low.hold) == bool(a.hold or b.hold)
    assert low.cooldown_until == max(a.cooldown_until, b.cooldown_until)


@given(feature_states, feature_states, st.integers(0, 3), st.integers(0, 3))
def test_only_a_higher_epoch_raises_exposure(known, read, known_epoch, read_epoch) -> None:
    before = RolloutDocument(epoch=known_epoch, features={"chat": known})
    after = reconcile(before, RolloutDocument(epoch=read_epoch, features={"chat": read}))
    if read_epoch > known_epoch:
        assert after.feature_state("chat") == read
    else:
        assert after.feature_state("chat").exposure <= known.exposure
        assert after.epoch == known_epoch


def test_epoch_advances_only_with_a_change() -> None:
    entry = JournalEntry(
        at=5.0, epoch=3, feature="chat", before="legacy", after="proxy", cause="operator", actor="a"
    )
    document = RolloutDocument(epoch=2)
    assert document.advance_epoch([entry], 5.0) == RolloutDocument(epoch=3, written_at=5.0)
    assert document.advance_epoch([], 5.0).epoch == 2
