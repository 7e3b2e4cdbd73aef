"""The monitor enforces violations: proxy, one step down, or a hold, which slowness makes a step."""

from pathlib import Path

from hamlet.migration.feature import FeatureSet
from hamlet.migration.file_store import FileStore
from hamlet.migration.guardrail_monitor import GuardrailMonitor
from hamlet.migration.local_state import LocalRolloutState
from hamlet.migration.rollout_controller import RolloutController
from hamlet.migration.rollout_document import FeatureState, RolloutDocument
from hamlet.testing.support import SilentLog
from support.migration import SilentObserver, cutover_config

CANARY = FeatureState(stage="canary", weight_bp=2000)


class Monitored:
    """A monitor over one feature `chat` in a canary of 20 %, with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        config = cutover_config()
        store = FileStore(folder / "state.json")
        store.create(RolloutDocument(epoch=1, features={"chat": CANARY}))
        features = FeatureSet(config, SilentObserver(), SilentLog())
        self.feature = features.by_name["chat"]
        self.feature.clock = self.feature.window._clock = lambda: self.now
        self.local_state = LocalRolloutState(RolloutController(store, config), SilentLog())
        self.monitor = GuardrailMonitor(self.local_state, features, config, SilentLog())

    def record(self, arm: str, outcome: str, total_s: float, count: int) -> None:
        for _ in range(count):
            self.feature.record_request(arm, outcome, None, total_s, epoch=0)

    async def check(self) -> FeatureState:
        await self.local_state.refresh()
        await self.monitor.check_guardrails()
        return self.local_state.feature_state("chat")


async def test_hard_failures_demote_to_the_proxy(tmp_path: Path) -> None:
    monitored = Monitored(tmp_path)
    monitored.record("new", "failed", 1.0, 4)
    assert (await monitored.check()).step_label == "canary 20%"
    monitored.record("new", "failed", 1.0, 1)
    assert (await monitored.check()).stage == "proxy"


async def test_slowness_holds_first_and_demotes_a_step_if_it_persists(tmp_path: Path) -> None:
    monitored = Monitored(tmp_path)
    monitored.record("new", "ok", 4.0, 100)
    monitored.record("legacy", "ok", 1.0, 100)
    state = await monitored.check()
    assert state.step_label == "canary 20%"
    assert (state.hold or "").startswith("guardrail slow total")
    monitored.now += 301
    monitored.record("new", "ok", 4.0, 100)
    monitored.record("legacy", "ok", 1.0, 100)
    assert (await monitored.check()).step_label == "canary 5%"
