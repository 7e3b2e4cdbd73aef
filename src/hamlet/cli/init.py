"""`hamlet init`: writes a commented starter configuration."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from hamlet.cli_support import error_exit
from hamlet.config import did_you_mean

_STARTERS_FOLDER = resources.files("hamlet.cli").joinpath("starters")


def starter_names() -> list[str]:
    """The values of `--vendor`, sorted."""
    names = (Path(entry.name) for entry in _STARTERS_FOLDER.iterdir())
    return sorted(name.stem for name in names if name.suffix == ".yaml")


def starter_text(vendor: str) -> str:
    """The starter configuration for a vendor."""
    return "".join(
        _STARTERS_FOLDER.joinpath(name).read_text("utf-8")
        for name in (f"{vendor}.yaml", "rest.txt")
    )


def init(
    vendor: Annotated[
        str, typer.Option(help=f"The vendor: {', '.join(starter_names())}")
    ] = "embedded",
    out: Annotated[Path, typer.Option("--out", help="The file to write")] = Path("hamlet.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file")] = False,
) -> None:
    """Write a commented starter configuration. It refers to API keys and never contains one."""
    known = starter_names()
    if vendor not in known:
        raise error_exit(
            f"no such vendor: {vendor}{did_you_mean(vendor, known)}; {', '.join(known)}"
        )
    text = starter_text(vendor)
    try:
        with out.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise error_exit(f"{out} already exists; --force overwrites it") from None
    except OSError as error:
        raise error_exit(f"{out}: cannot be written: {error.strerror}") from None
    print(f"{out}: starter configuration for {vendor}. Next:")
    for variable in dict.fromkeys(re.findall(r"^[^#\n]*env:(\w+)", text, re.MULTILINE)):
        print(f"  export {variable}=...")
    print(f"  hamlet doctor --config {out}")
    print(f"  hamlet serve --config {out}")
