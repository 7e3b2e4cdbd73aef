"""A served hamlet with hamlet1 behind it, and a hand on where features stand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from hamlet.migration import (
    FeatureState,
    FileStore,
    RolloutController,
    RolloutDocument,
    resolve_config,
)
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


@dataclass
class MigrationHarness:
    """Both services, the vendor behind both, and the document between them."""

    running: RunningServer
    http: httpx2.AsyncClient
    legacy: Hamlet1
    vendor: LoopbackUpstream
    controller: RolloutController

    async def set_feature_state(
        self, feature: str, stage: str, weight_bp: int = 0, **more: Any
    ) -> None:
        """Place a feature, past all rules, and wait until hamlet knows."""

        def apply_state(document: RolloutDocument):
            state = FeatureState(
                stage=stage, weight_bp=weight_bp, changed=document.epoch + 1, **more
            )
            moved = document.with_feature_state(feature, state)
            return moved.model_copy(update={"epoch": document.epoch + 1}), []

        epoch = self.controller.state_store.update(apply_state).epoch
        view = self.view
        await wait_until(lambda: view.document.epoch >= epoch)

    @property
    def view(self):
        return self.running.hamlet.migration.local_state

    def feature(self, name: str):
        return self.running.hamlet.migration.features.by_name[name]

    def count_log_events(self, event: str) -> int:
        """How often hamlet has logged this."""
        return self.running.log.getvalue().count(f'"event":"{event}"')


@asynccontextmanager
async def migration_harness(folder: Path, **extra: str) -> AsyncIterator[MigrationHarness]:
    """Both services on loopback; `TEST_TESTER_KEY` must be set."""
    async with LoopbackUpstream() as vendor, hamlet1(f"{vendor.url}/v1") as old:
        vendor.respond(respond)
        file = folder / "hamlet.yaml"
        text = CONFIG.format(vendor=vendor.url, legacy=old.url)
        for find, replacement in extra.items():
            text = text.replace(find.replace("__", ": "), replacement)
        file.write_text(text)
        store = FileStore(folder / "state.json")
        store.create(RolloutDocument())
        async with run_server(file) as running:
            board = RolloutController(store, resolve_config(running.hamlet._loaded))
            async with httpx2.AsyncClient(base_url=running.url, timeout=60) as http:
                yield MigrationHarness(running, http, old, vendor, board)
