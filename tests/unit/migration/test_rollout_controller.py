"""Changing the rollout state: the journal, and operators who disagree. Over both stores."""

import threading

import pytest

from hamlet.migration.rollout_controller import RolloutController, StateConflict
from hamlet.migration.transitions import TransitionRefused
from support.migration import cutover_config

CONFIG = cutover_config("chat", "chips")


def test_journal_records_who_changed_what_and_why(store) -> None:
    controller = RolloutController(store, CONFIG, clock=lambda: 100.0)
    expected = controller.read().feature_state("chat")
    controller.promote("chat", expected=expected, actor="ann", why="CHG-1")
    controller.hold("chat", actor="bob", why="lunch")
    controller.demote({"chat": ("legacy", 0), "chips": ("legacy", 0)}, actor="ann", why="enough")
    assert [
        (e.epoch, e.feature, e.before, e.after, e.actor, e.why) for e in store.read_journal()
    ] == [
        (1, "chat", "legacy", "proxy", "ann", "CHG-1"),
        (2, "chat", "proxy", "proxy (held)", "bob", "lunch"),
        (3, "chat", "proxy (held)", "legacy (held)", "ann", "enough"),
    ]
    assert controller.read().epoch == 3


def test_concurrent_promotions_raise_a_feature_once(store) -> None:
    """Both operators have seen the same state; one of them gets a conflict."""
    controllers = [RolloutController(store, CONFIG), RolloutController(store, CONFIG)]
    expected = controllers[0].read().feature_state("chat")
    barrier, outcomes = threading.Barrier(2), []

    def promote(controller: RolloutController) -> None:
        barrier.wait()
        try:
            controller.promote("chat", expected=expected, actor="x")
            outcomes.append("done")
        except StateConflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=promote, args=(each,)) for each in controllers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "done"]
    assert controllers[0].read().feature_state("chat").stage == "proxy"
    assert len(store.read_journal()) == 1


def test_rollback_wins_over_earlier_promotion(store) -> None:
    controller = RolloutController(store, CONFIG)

    def promote(expected=None):
        seen = expected or controller.read().feature_state("chat")
        return controller.promote("chat", expected=seen, actor="ann").feature_state("chat")

    for _ in range(3):
        promote()
    seen = controller.read().feature_state("chat")
    controller.demote({"chat": ("legacy", 0)}, actor="bob")
    with pytest.raises(StateConflict):
        promote(seen)
    with pytest.raises(TransitionRefused, match="cools down"):
        promote()
    controller.release("chat", actor="bob")
    assert promote().stage == "proxy"
