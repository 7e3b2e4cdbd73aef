"""`python -m hamlet.testing.simulator`: a fleet of vendors on loopback."""

from __future__ import annotations

import typer

from hamlet.simulator.__main__ import main

if __name__ == "__main__":
    typer.run(main)
