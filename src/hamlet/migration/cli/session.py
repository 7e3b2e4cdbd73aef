"""What all cutover commands begin and end with."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from hamlet.cli_support import exit_on_config_error
from hamlet.config import CutoverConfig, did_you_mean, load
from hamlet.migration import (
    FeatureState,
    RolloutController,
    RolloutDocument,
    StateConflict,
    StateUnavailable,
    TransitionRefused,
    open_store,
    resolve_config,
)
from hamlet.migration.evidence import EvidenceCollector
from hamlet.migration.gate import Evidence, promotion_blockers

GATE_CLOSED, CONFLICT, USAGE_ERROR = 3, 4, 2

ConfigFile = Annotated[Path, typer.Option("--config", help="hamlet's YAML file")]
Actor = Annotated[str, typer.Option(help="Who does this; your login if not given")]
Why = Annotated[str, typer.Option(help="For the journal: a reason, a change number")]
DEFAULT_CONFIG = Path("hamlet.yaml")


@dataclass(frozen=True, slots=True)
class CutoverSession:
    """A configuration, its board and its witness."""

    config: CutoverConfig
    controller: RolloutController
    evidence_collector: EvidenceCollector

    def state(self, feature: str) -> tuple[RolloutDocument, FeatureState]:
        """Where a feature stands. Exits if there is none of that name."""
        if feature not in self.config.features:
            known = self.config.features
            exit_with_error(f"no such feature: {feature}{did_you_mean(feature, known)}")
        document = self.controller.read()
        return document, document.feature_state(feature)

    def check_gate(self, feature: str) -> tuple[RolloutDocument, FeatureState, Evidence, list[str]]:
        """Where a feature stands, what is known of it, and why it may not be raised."""
        document, state = self.state(feature)
        evidence = self.evidence_collector.collect_evidence(feature, state)
        return (
            document,
            state,
            evidence,
            promotion_blockers(state, evidence, self.config, document, time.time()),
        )


@contextmanager
def open_session(file: Path) -> Iterator[CutoverSession]:
    """A desk for a configuration; what goes wrong is said, with its own exit status."""
    with exit_on_config_error():
        config = resolve_config(load(file))
        key = os.environ.get("HAMLET_ADMIN_KEY")
        session = CutoverSession(
            config, RolloutController(open_store(config), config), EvidenceCollector(config, key)
        )
        try:
            yield session
        except StateConflict as error:
            exit_with_error(str(error), CONFLICT)
        except TransitionRefused as error:
            exit_with_error(str(error), GATE_CLOSED)
        except StateUnavailable as error:
            exit_with_error(f"the state cannot be used: {error}")


def resolve_actor(actor: str) -> str:
    """Who is typing."""
    return actor or getpass.getuser()


def exit_with_error(message: str, status: int = USAGE_ERROR) -> None:
    """Say it on stderr and exit."""
    print(f"hamlet cutover: {message}", file=sys.stderr)
    raise typer.Exit(status)
