"""One replica's copy of the document: demoting without a store, and never raising on its own."""

import os
from pathlib import Path

from hamlet.migration.file_store import FileStore
from hamlet.migration.local_state import LocalRolloutState
from hamlet.migration.rollout_controller import RolloutController
from hamlet.migration.rollout_document import FeatureState, RolloutDocument
from hamlet.testing.support import SilentLog
from support.migration import cutover_config


def make_local_state(store: FileStore, **options) -> LocalRolloutState:
    controller = RolloutController(store, cutover_config())
    return LocalRolloutState(controller, SilentLog(), **options)


async def test_replica_demotes_without_a_store_and_writes_it_later(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "state.json")
    store.create(RolloutDocument(epoch=5, features={"chat": FeatureState(stage="new")}))
    local_state = make_local_state(store, name="r1")
    await local_state.refresh()
    os.rename(tmp_path / "state.json", tmp_path / "moved")
    await local_state.demote("chat", ("proxy", 0), "broken", {})
    await local_state.refresh()
    assert not local_state.is_readable
    assert local_state.feature_state("chat").stage == "proxy"

    # The old file comes back: the pending demotion is written over it.
    os.rename(tmp_path / "moved", tmp_path / "state.json")
    await local_state.refresh()
    assert store.read().feature_state("chat").stage == "proxy"
    assert store.read().epoch == 6
    assert local_state.feature_state("chat").stage == "proxy"
    assert [entry.actor for entry in store.read_journal()] == ["r1"]


async def test_older_document_can_lower_but_never_raise(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    store = FileStore(file)
    store.create(RolloutDocument(epoch=7, features={"chat": FeatureState(stage="shadow")}))
    local_state = make_local_state(store)
    await local_state.refresh()
    for written, expected in (("new", "shadow"), ("proxy", "proxy"), ("new", "proxy")):
        older = RolloutDocument(epoch=3, features={"chat": FeatureState(stage=written)})
        file.write_text(older.to_json())
        await local_state.refresh()
        assert local_state.feature_state("chat").stage == expected


async def test_unreadable_state_at_start_routes_all_to_legacy(tmp_path: Path) -> None:
    local_state = make_local_state(FileStore(tmp_path / "none.json"))
    await local_state.refresh()
    assert not local_state.is_readable
    assert local_state.feature_state("chat").stage == "legacy"


async def test_every_changed_document_is_reported_once(tmp_path: Path) -> None:
    store, received = FileStore(tmp_path / "state.json"), []
    store.create(RolloutDocument(epoch=1, features={"chat": FeatureState(stage="new")}))
    local_state = make_local_state(store, on_change=received.append)
    await local_state.refresh()
    await local_state.refresh()
    assert received == [store.read()]
    await local_state.hold("chat", "slow", {})
    assert [document.feature_state("chat").hold for document in received][-1] == "slow"
