"""A served hamlet with hamlet1 behind it, and control over the rollout state."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from hypothesis import strategies as st

from hamlet.config import CutoverConfig
from hamlet.migration.config_check import resolve_config
from hamlet.migration.file_store import FileStore
from hamlet.migration.rollout_controller import RolloutController
from hamlet.migration.rollout_document import CANARY_STEPS_BP, STAGES, FeatureState, RolloutDocument
from hamlet.testing import LoopbackUpstream
from support.hamlet1 import Hamlet1, hamlet1
from support.loopback_vendor import respond
from support.server import RunningServer, run_server, wait_until

CONFIG = """
server: {{max_in_flight: 500}}
providers: {{vendor: {{kind: openai_compatible, base_url: "{vendor}/v1", features: [tools, json]}}}}
routes:
  chat: {{deployments: [{{provider: vendor, model: gpt-4o}}], policy: {{attempts: 1}}}}
cutover:
  legacy_url: {legacy}
  state: state.json
  chat_route: chat
  tester_key: env:TEST_TESTER_KEY
  features:
    chat: {{paths: [/api/chat], rescue_after_s: 2}}
    related_links: {{paths: [/api/related], content: "off"}}
    chips: {{paths: [/api/chips], content: "off"}}
    rest: {{paths: ["/api/*", "/assets/*"]}}
  shadow: {{noise_percent: 0, concurrent: 4, per_minute: 1000}}
  gate: {{minutes: 0, requests: 20, comparisons: 5, cooldown_s: 60}}
"""
CHAT_BODY = {
    "conversationId": "c1",
    "messages": [{"sender": "user", "text": "How is the weather in Seoul?"}],
}


feature_states = st.builds(
    FeatureState,
    stage=st.sampled_from(STAGES),
    weight_bp=st.sampled_from((0, *CANARY_STEPS_BP)),
    hold=st.sampled_from((None, "held")),
    cooldown_until=st.sampled_from((0.0, 50.0)),
)


def cutover_config(*features: str) -> CutoverConfig:
    """A `cutover` section with these features; with `chat` if none are given."""
    return CutoverConfig(
        legacy_url="http://127.0.0.1:1",
        state=Path("state.json"),
        features={name: {"paths": [f"/api/{name}"]} for name in features or ("chat",)},
    )


class SilentObserver:
    """A migration observer that ignores everything."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *arguments: None


@dataclass
class MigrationHarness:
    """Both services, the vendor behind both, and the rollout state."""

    running: RunningServer
    http: httpx2.AsyncClient
    legacy: Hamlet1
    vendor: LoopbackUpstream
    controller: RolloutController

    async def set_feature_state(
        self, feature: str, stage: str, weight_bp: int = 0, **more: Any
    ) -> None:
        """Set a feature's state without any checks, and wait until hamlet has read it."""

        def apply_state(document: RolloutDocument):
            state = FeatureState(
                stage=stage, weight_bp=weight_bp, changed=document.epoch + 1, **more
            )
            changed = document.with_feature_state(feature, state)
            return changed.model_copy(update={"epoch": document.epoch + 1}), []

        epoch = self.controller.state_store.update(apply_state).epoch
        local_state = self.local_state
        await wait_until(lambda: local_state.document.epoch >= epoch)

    @property
    def local_state(self):
        return self.running.hamlet.migration.local_state

    def feature(self, name: str):
        return self.running.hamlet.migration.features.by_name[name]

    def count_log_events(self, event: str) -> int:
        """How often hamlet has logged an event."""
        return self.running.log.getvalue().count(f'"event":"{event}"')


@asynccontextmanager
async def migration_harness(folder: Path, **extra: str) -> AsyncIterator[MigrationHarness]:
    """Both services on loopback; `TEST_TESTER_KEY` must be set."""
    async with LoopbackUpstream() as vendor, hamlet1(f"{vendor.url}/v1") as legacy:
        vendor.respond(respond)
        file = folder / "hamlet.yaml"
        text = CONFIG.format(vendor=vendor.url, legacy=legacy.url)
        for find, replacement in extra.items():
            text = text.replace(find.replace("__", ": "), replacement)
        file.write_text(text)
        store = FileStore(folder / "state.json")
        store.create(RolloutDocument())
        async with run_server(file) as running:
            controller = RolloutController(store, resolve_config(running.hamlet._loaded))
            async with httpx2.AsyncClient(base_url=running.url, timeout=60) as http:
                yield MigrationHarness(running, http, legacy, vendor, controller)
