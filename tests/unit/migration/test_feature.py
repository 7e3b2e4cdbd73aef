"""A feature in one replica: matching by path, and what counts as evidence."""

from hamlet.config.cutover import PricesConfig
from hamlet.migration.captured_response import CapturedResponse
from hamlet.migration.comparison import ComparisonResult
from hamlet.migration.feature import FeatureSet
from hamlet.migration.rollout_document import FeatureState, RolloutDocument
from hamlet.testing.support import SilentLog
from support.migration import SilentObserver, cutover_config

JSON = [(b"content-type", b"application/json")]
USAGE = CapturedResponse(200, JSON, b'{"reply": "hi", "usage": {"in": 10, "out": 10}}')


def make_features(**paths: list[str]) -> FeatureSet:
    config = cutover_config(*paths)
    price = {"input": 1.0, "output": 1.0}
    prices = PricesConfig(legacy=price, new=price)
    rows = {
        name: row.model_copy(update={"paths": paths[name]}) for name, row in config.features.items()
    }
    config = config.model_copy(update={"features": rows, "prices": prices})
    return FeatureSet(config, SilentObserver(), SilentLog())


def test_exact_path_wins_over_longest_prefix() -> None:
    features = make_features(rest=["/api/*"], chat=["/api/chat"], chips=["/api/chips/*"])
    for path, name in (
        ("/api/chat", "chat"),
        ("/api/chat/1", "rest"),
        ("/api/chips/1", "chips"),
        ("/api/", "rest"),
    ):
        found = features.match(path)
        assert found is not None
        assert found.name == name
    assert features.match("/other") is None


def test_counters_restart_at_a_transition_and_ignore_earlier_requests() -> None:
    features = make_features(chat=["/api/chat"])
    chat = features.by_name["chat"]
    chat.record_request("new", "ok", 0.1, 0.2, epoch=0)
    assert chat.counters.new["ok"] == 1
    state = FeatureState(stage="canary", weight_bp=100, changed=5)
    features.apply_document(RolloutDocument(epoch=5, features={"chat": state}))
    chat.record_request("new", "ok", 0.1, 0.2, epoch=0)
    chat.record_comparison("candidate", ComparisonResult("equal"), "r1", epoch=0)
    chat.record_pair_costs(USAGE, USAGE, epoch=0)
    assert chat.counters.evaluated_new == chat.counters.comparisons == 0
    assert not chat.counters.priced
    chat.record_request("new", "ok", 0.1, 0.2, epoch=5, inspected_response=USAGE)
    assert (chat.counters.epoch, chat.counters.new["ok"], chat.counters.priced["new"]) == (5, 1, 1)


def test_noise_in_the_contract_is_learned_and_mismatches_are_kept() -> None:
    chat = make_features(chat=["/api/chat"]).by_name["chat"]
    result = ComparisonResult("contract_mismatch", ("$.extra",))
    chat.record_comparison("noise", result, "r1", epoch=0)
    chat.record_comparison("candidate", ComparisonResult("tolerated"), "r2", epoch=0)
    assert chat.noisy_paths == {"$.extra"}
    assert [(row["request_id"], row["paths"]) for row in chat.mismatches] == [("r1", ["$.extra"])]


def test_status_has_latencies_and_state() -> None:
    chat = make_features(chat=["/api/chat"]).by_name["chat"]
    for i in range(100):
        chat.record_request("new", "ok", i / 1000, i / 100, epoch=0)
    status = chat.status_snapshot(FeatureState(stage="canary", weight_bp=100))
    assert status["p95_first_s"] == {"new": 0.095, "legacy": None}
    assert status["p95_total_s"] == {"new": 0.95, "legacy": None}
    assert status["state"]["stage"] == "canary"
    assert status["tally"]["new"] == {"ok": 100}
