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

from hamlet.cli_support import failing_cleanly
from hamlet.config import CutoverConfig, load, suggestion
from hamlet.migration import (
    Board,
    Document,
    FeatureState,
    MoveRefused,
    StateConflict,
    StateUnreadable,
    open_store,
    settings,
)
from hamlet.migration.evidence import Witness
from hamlet.migration.gate import Evidence, closed

GATE_CLOSED, CONFLICT, WRONG = 3, 4, 2

ConfigFile = Annotated[Path, typer.Option("--config", help="hamlet's YAML file")]
Actor = Annotated[str, typer.Option(help="Who does this; your login if not given")]
Why = Annotated[str, typer.Option(help="For the journal: a reason, a change number")]
CONFIG = Path("hamlet.yaml")


@dataclass(frozen=True, slots=True)
class Desk:
    """A configuration, its board and its witness."""

    config: CutoverConfig
    board: Board
    witness: Witness

    def state(self, feature: str) -> tuple[Document, FeatureState]:
        """Where a feature stands. Exits if there is none of that name."""
        if feature not in self.config.features:
            known = self.config.features
            stop(f"no such feature: {feature}{suggestion(feature, known)}")
        document = self.board.read()
        return document, document.of(feature)

    def gate(self, feature: str) -> tuple[Document, FeatureState, Evidence, list[str]]:
        """Where a feature stands, what is known of it, and why it may not be raised."""
        document, state = self.state(feature)
        evidence = self.witness.evidence(feature, state)
        return (
            document,
            state,
            evidence,
            closed(state, evidence, self.config, document, time.time()),
        )


@contextmanager
def at_desk(file: Path) -> Iterator[Desk]:
    """A desk for a configuration; what goes wrong is said, with its own exit status."""
    with failing_cleanly():
        config = settings(load(file))
        key = os.environ.get("HAMLET_ADMIN_KEY")
        desk = Desk(config, Board(open_store(config), config), Witness(config, key))
        try:
            yield desk
        except StateConflict as error:
            stop(str(error), CONFLICT)
        except MoveRefused as error:
            stop(str(error), GATE_CLOSED)
        except StateUnreadable as error:
            stop(f"the state cannot be used: {error}")


def me(actor: str) -> str:
    """Who is typing."""
    return actor or getpass.getuser()


def stop(message: str, status: int = WRONG) -> None:
    """Say it on stderr and exit."""
    print(f"hamlet cutover: {message}", file=sys.stderr)
    raise typer.Exit(status)
