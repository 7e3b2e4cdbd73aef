"""What the cutover commands share: options, the session, and errors as exit statuses."""

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
from hamlet.migration.config_check import resolve_config
from hamlet.migration.evidence import EvidenceCollector
from hamlet.migration.gate import Evidence, promotion_blockers
from hamlet.migration.rollout_controller import RolloutController, StateConflict
from hamlet.migration.rollout_document import FeatureState, RolloutDocument
from hamlet.migration.state_store import StateUnavailable
from hamlet.migration.store_factory import open_store
from hamlet.migration.transitions import TransitionRefused

GATE_CLOSED, CONFLICT, USAGE_ERROR = 3, 4, 2

FeatureName = Annotated[str, typer.Argument(help="A feature of the `cutover` section")]
ConfigFile = Annotated[Path, typer.Option("--config", help="The configuration file")]
Actor = Annotated[str, typer.Option(help="Who makes this change; your login name by default")]
Why = Annotated[str, typer.Option(help="A reason or change number for the journal")]
DEFAULT_CONFIG = Path("hamlet.yaml")


@dataclass(frozen=True, slots=True)
class CutoverSession:
    """A configuration with its rollout state and evidence."""

    config: CutoverConfig
    controller: RolloutController
    evidence_collector: EvidenceCollector

    def state(self, feature: str) -> tuple[RolloutDocument, FeatureState]:
        """The document and a feature's state. Exits if there is no such feature."""
        if feature not in self.config.features:
            known = self.config.features
            exit_with_error(f"no such feature: {feature}{did_you_mean(feature, known)}")
        document = self.controller.read()
        return document, document.feature_state(feature)

    def check_gate(self, feature: str) -> tuple[RolloutDocument, FeatureState, Evidence, list[str]]:
        """The document, a feature's state, its evidence, and what blocks its promotion."""
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
    """A session for a configuration file; errors are reported with their own exit status."""
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
    """The given actor, else the login name."""
    return actor or getpass.getuser()


def exit_with_error(message: str, status: int = USAGE_ERROR) -> None:
    """Report an error on stderr and exit."""
    print(f"hamlet cutover: {message}", file=sys.stderr)
    raise typer.Exit(status)
