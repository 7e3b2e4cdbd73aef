"""The state machine, its store, and what wins where replicas and operators disagree."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlet.config import CutoverConfig
from hamlet.migration import (
    FeatureState,
    FileStore,
    LocalRolloutState,
    RolloutController,
    RolloutDocument,
    StateConflict,
    StateUnavailable,
    TransitionRefused,
)
from hamlet.migration.redis_store import RedisStateStore
from hamlet.migration.rollout_document import CANARY_STEPS_BP, STAGES, least_exposed, reconcile
from hamlet.migration.transitions import next_step, previous_step, promote
from hamlet.testing.support import SilentLog

CONFIG = CutoverConfig(
    legacy_url="http://127.0.0.1:1",
    state=Path("state.json"),
    features={"chat": {"paths": ["/api/chat"]}, "chips": {"paths": ["/api/chips"]}},
)
states = st.builds(
    FeatureState,
    stage=st.sampled_from(STAGES),
    weight_bp=st.sampled_from((0, *CANARY_STEPS_BP)),
    hold=st.sampled_from((None, "held")),
    cooldown_until=st.sampled_from((0.0, 50.0)),
)


@pytest.fixture
def redis_url(tmp_path):
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed")
    socket = tmp_path / "redis.sock"
    words = ["redis-server", "--port", "0", "--unixsocket", str(socket), "--save", ""]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=tmp_path)
    while not socket.exists():
        assert server.poll() is None
    yield f"unix://{socket}"
    server.terminate()
    server.wait()


@pytest.fixture(params=["file", "redis"])
def store(request, tmp_path):
    if request.param == "file":
        store = FileStore(tmp_path / "state.json")
        store.create(RolloutDocument())
        yield store
        return
    store = RedisStateStore(request.getfixturevalue("redis_url"))
    store.create(RolloutDocument())
    yield store
    store._client.close()


def test_upward_goes_one_step_at_a_time_to_the_top() -> None:
    state, steps = FeatureState(), []
    while next_step(state) is not None:
        state = promote(state, now=1.0, epoch=1)
        steps.append(state.step_label)
    assert steps == [
        *("proxy", "shadow", "canary 1%", "canary 5%", "canary 20%", "canary 50%"),
        *("new", "retired"),
    ]


@given(states)
def test_a_step_up_raises_exposure_and_a_step_down_lowers_it(state) -> None:
    down = FeatureState(stage=previous_step(state)[0], weight_bp=previous_step(state)[1])
    assert down.exposure < state.exposure or state.stage == "legacy"
    if state.hold or state.cooldown_until or state.stage == "retired":
        with pytest.raises(TransitionRefused):
            promote(state, now=1.0, epoch=2)
    else:
        assert promote(state, now=1.0, epoch=2).exposure > state.exposure


@given(states, states)
def test_of_two_states_the_lower_one_counts_with_every_hold(a, b) -> None:
    low = least_exposed(a, b)
    assert low.exposure == min(a.exposure, b.exposure)
    assert bool(low.hold) == bool(a.hold or b.hold)
    assert low.cooldown_until == max(a.cooldown_until, b.cooldown_until)


@given(states, states, st.integers(0, 3), st.integers(0, 3))
def test_only_a_higher_epoch_can_raise(known, read, epoch_known, epoch_read) -> None:
    before = RolloutDocument(epoch=epoch_known, features={"chat": known})
    after = reconcile(before, RolloutDocument(epoch=epoch_read, features={"chat": read}))
    if epoch_read > epoch_known:
        assert after.feature_state("chat") == read
    else:
        assert after.feature_state("chat").exposure <= known.exposure
        assert after.epoch == epoch_known


def test_the_journal_says_who_moved_what_and_why(store) -> None:
    board = RolloutController(store, CONFIG, clock=lambda: 100.0)
    seen = board.read().feature_state("chat")
    board.promote("chat", expected=seen, actor="ann", why="CHG-1")
    board.hold("chat", actor="bob", why="lunch")
    board.demote({"chat": ("legacy", 0), "chips": ("legacy", 0)}, actor="ann", why="enough")
    told = [(e.epoch, e.feature, e.before, e.after, e.actor, e.why) for e in store.read_journal()]
    assert told == [
        (1, "chat", "legacy", "proxy", "ann", "CHG-1"),
        (2, "chat", "proxy", "proxy (held)", "bob", "lunch"),
        (3, "chat", "proxy (held)", "legacy (held)", "ann", "enough"),
    ]
    assert board.read().epoch == 3
    with pytest.raises(FileExistsError):
        store.create(RolloutDocument())


def test_two_operators_at_once_raise_a_feature_once(store) -> None:
    """Both have seen the same state; one of them is told that it has changed."""
    boards = [RolloutController(store, CONFIG), RolloutController(store, CONFIG)]
    seen = boards[0].read().feature_state("chat")
    together, outcomes = threading.Barrier(2), []

    def up(board: RolloutController) -> None:
        together.wait()
        try:
            board.promote("chat", expected=seen, actor="x")
            outcomes.append("done")
        except StateConflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=up, args=(board,)) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "done"]
    assert boards[0].read().feature_state("chat").stage == "proxy"
    assert len(store.read_journal()) == 1


def test_rollback_wins_over_earlier_promotion(store) -> None:
    board = RolloutController(store, CONFIG)
    for _ in range(3):
        board.promote("chat", expected=board.read().feature_state("chat"), actor="ann")
    seen = board.read().feature_state("chat")
    board.demote({"chat": ("legacy", 0)}, actor="bob")
    with pytest.raises(StateConflict):
        board.promote("chat", expected=seen, actor="ann")
    with pytest.raises(TransitionRefused, match="cools down"):
        board.promote("chat", expected=board.read().feature_state("chat"), actor="ann")
    board.release("chat", actor="bob")
    assert (
        board.promote("chat", expected=board.read().feature_state("chat"), actor="ann")
        .feature_state("chat")
        .stage
        == "proxy"
    )


def test_invalid_state_is_unreadable_and_not_logged(tmp_path) -> None:
    store = FileStore(tmp_path / "state.json")
    with pytest.raises(StateUnavailable, match="FileNotFoundError"):
        store.read()
    (tmp_path / "state.json").write_text('{"epoch": "secret"}')
    with pytest.raises(StateUnavailable) as caught:
        store.read()
    assert "secret" not in str(caught.value)


async def test_a_replica_that_cannot_write_lowers_by_itself_and_tells_later(tmp_path) -> None:
    store = FileStore(tmp_path / "state.json")
    store.create(RolloutDocument(epoch=5, features={"chat": FeatureState(stage="new")}))
    view = LocalRolloutState(RolloutController(store, CONFIG), SilentLog(), "r1")
    await view.refresh()
    os.rename(tmp_path / "state.json", tmp_path / "gone")
    await view.demote("chat", ("proxy", 0), "broken", {})
    await view.refresh()
    assert (view.is_readable, view.feature_state("chat").stage) == (False, "proxy")

    # Somebody restores what stood there, and then even decides to raise: the lowering comes first.
    os.rename(tmp_path / "gone", tmp_path / "state.json")
    await view.refresh()
    assert store.read().feature_state("chat").stage == "proxy"
    assert store.read().epoch == 6
    assert view.feature_state("chat").stage == "proxy"


async def test_an_older_document_can_lower_but_never_raise(tmp_path) -> None:
    file = tmp_path / "state.json"
    store = FileStore(file)
    store.create(RolloutDocument(epoch=7, features={"chat": FeatureState(stage="shadow")}))
    view = LocalRolloutState(RolloutController(store, CONFIG), SilentLog())
    await view.refresh()
    for stage, stands in (("new", "shadow"), ("proxy", "proxy"), ("new", "proxy")):
        old = RolloutDocument(epoch=3, features={"chat": FeatureState(stage=stage)})
        file.write_text(old.to_json())
        await view.refresh()
        assert view.feature_state("chat").stage == stands


async def test_unreadable_state_at_start_routes_all_to_legacy(tmp_path) -> None:
    view = LocalRolloutState(
        RolloutController(FileStore(tmp_path / "none.json"), CONFIG), SilentLog()
    )
    await view.refresh()
    assert (view.is_readable, view.feature_state("chat").stage) == (False, "legacy")
