"""`hamlet init`: a commented configuration to start from."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from hamlet.config import suggestion

_FOLDER = resources.files("hamlet.cli").joinpath("starters")


def starters() -> list[str]:
    """The names that `--vendor` takes."""
    names = (Path(entry.name) for entry in _FOLDER.iterdir())
    return sorted(name.stem for name in names if name.suffix == ".yaml")


def starter(vendor: str) -> str:
    """The configuration for a vendor, with its comments."""
    return "".join(
        _FOLDER.joinpath(name).read_text("utf-8") for name in (f"{vendor}.yaml", "rest.txt")
    )


def init(
    vendor: Annotated[
        str, typer.Option(help=f"Whose models: {', '.join(starters())}")
    ] = "embedded",
    out: Annotated[Path, typer.Option("--out", help="The file to write")] = Path("hamlet.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file")] = False,
) -> None:
    """Write a commented configuration to start from. Keys stand in it by reference alone."""
    known = starters()
    if vendor not in known:
        raise _stop(f"no such vendor: {vendor}{suggestion(vendor, known)}; {', '.join(known)}")
    text = starter(vendor)
    try:
        with out.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _stop(f"{out} is there already; --force replaces it") from None
    except OSError as error:
        raise _stop(f"{out}: cannot be written: {error.strerror}") from None
    print(f"{out}: a start with {vendor}. Then:")
    for variable in dict.fromkeys(re.findall(r"^[^#\n]*env:(\w+)", text, re.MULTILINE)):
        print(f"  export {variable}=...")
    print(f"  hamlet doctor --config {out}")
    print(f"  hamlet serve --config {out}")


def _stop(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(2)
