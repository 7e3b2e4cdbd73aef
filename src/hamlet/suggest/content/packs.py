"""Packs: JSON Lines with a manifest of licence and source, and a file of dead links."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from hamlet.suggest.content.pins import Pin
from hamlet.suggest.content.rows import ROW_TYPES, ChipRow, LinkRow, PackKind, Row

SHIPPED = "shipped"
_PACK_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_GONE_STATUSES = (404, 410)


class PackError(Exception):
    """A pack cannot be used. The message names it and says why."""


class Manifest(msgspec.Struct, frozen=True):
    """Describes a pack: `file` is in the folder of the manifest, `sha256` is the digest of it."""

    name: str
    kind: PackKind
    version: int
    license: str
    source: str
    rows: int
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Content:
    """All links and chips that may be shown, and the packs they come from.

    `quarantined` is the number of links left out since they were gone at the last check.
    """

    links: Sequence[LinkRow]
    chips: Sequence[ChipRow]
    packs: Sequence[Manifest] = ()
    pins: Sequence[Pin] = ()
    quarantined: int = 0  # rows


def load_content(
    folder: Path | None = None, disabled: Iterable[str] = (), *, quarantine: bool = True
) -> Content:
    """What is shipped and the packs of a folder, without those `disabled`. Raises PackError.

    With `quarantine`, links that were gone at the last check are left out.
    """
    disabled_names = set(disabled)
    links: dict[str, LinkRow] = {}
    chips: dict[str, ChipRow] = {}
    if SHIPPED not in disabled_names:
        links = {row.key: row for row in shipped_links()}
        chips = {row.key: row for row in shipped_chips()}
    packs = [pack for pack in _read_manifests(folder) if pack.name not in disabled_names]
    for pack in packs:
        for row in read_pack_rows(pack, folder):
            if isinstance(row, LinkRow):
                links[row.key] = row
            else:
                chips[row.key] = row
    dead = _read_dead_links(folder) if quarantine else set()
    alive = [row for row in links.values() if row.url not in dead]
    gone = len(links) - len(alive)
    return Content(alive, list(chips.values()), packs, _read_pins(folder), gone)


def save_pack(
    folder: Path, name: str, kind: PackKind, rows: Iterable[Row], license_: str, source: str
) -> Manifest:
    """Add rows to a pack, or create it; a row with a known key is replaced. Raises PackError.

    The manifest is replaced last and atomically: a reader sees the old pack or the new one.
    """
    if not _PACK_NAME.fullmatch(name) or name == SHIPPED:
        raise PackError(f"{name!r} cannot be a pack's name: a-z, 0-9 and -, and not {SHIPPED!r}")
    if not license_.strip():
        raise PackError(f"{name}: a pack needs a licence")
    folder.mkdir(parents=True, exist_ok=True)
    previous = next((pack for pack in _read_manifests(folder) if pack.name == name), None)
    if previous is not None and previous.kind != kind:
        raise PackError(f"{name}: is a pack of {previous.kind}")
    merged = {row.key: row for row in read_pack_rows(previous, folder)} if previous else {}
    merged |= {row.key: row for row in rows}
    data = b"".join(msgspec.json.encode(row) + b"\n" for row in merged.values())
    digest = hashlib.sha256(data).hexdigest()
    version = previous.version + 1 if previous else 1
    file = f"{name}-{digest[:12]}.jsonl"
    manifest = Manifest(name, kind, version, license_, source, len(merged), file, digest)
    _write_atomically(folder / file, data)
    _write_atomically(
        folder / f"{name}.manifest.json", msgspec.json.format(msgspec.json.encode(manifest))
    )
    if previous is not None and previous.file != file:
        (folder / previous.file).unlink(missing_ok=True)
    return manifest


def read_pack_rows(pack: Manifest, folder: Path | None) -> list[Any]:
    """The rows of a pack. Raises PackError if they do not match the manifest."""
    assert folder is not None, "the manifest was read from it"
    if not pack.license.strip():
        raise PackError(f"{pack.name}: the manifest names no licence")
    try:
        data = (folder / Path(pack.file).name).read_bytes()
    except OSError as error:
        raise PackError(f"{pack.name}: cannot be read: {type(error).__name__}") from None
    if hashlib.sha256(data).hexdigest() != pack.sha256:
        raise PackError(f"{pack.name}: {pack.file} is not the file its manifest describes")
    try:
        return msgspec.json.Decoder(ROW_TYPES[pack.kind]).decode_lines(data)
    except msgspec.MsgspecError as error:
        raise PackError(f"{pack.name}: {error}") from None


def shipped_links() -> list[LinkRow]:
    """The links in the wheel."""
    return msgspec.json.Decoder(LinkRow).decode_lines(_shipped_data("links.jsonl"))


def shipped_chips() -> list[ChipRow]:
    """The chips in the wheel."""
    return msgspec.json.Decoder(ChipRow).decode_lines(_shipped_data("chips.jsonl"))


def save_pins(folder: Path, pins: Sequence[Pin]) -> None:
    """Replace the stored pins."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_atomically(folder / "pins.json", msgspec.json.format(msgspec.json.encode(pins)))


def save_health(folder: Path, statuses: dict[str, int]) -> None:
    """Store the result of a link check: HTTP status by URL, 0 for no response.

    Only 404 and 410 remove a link: a missing response may be the fault of the network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_atomically(folder / "health.json", msgspec.json.format(msgspec.json.encode(statuses)))


def _read_dead_links(folder: Path | None) -> set[str]:
    """Links that were gone at the last check. Without a response a link stays: see save_health."""
    statuses: dict[str, int] = _read_json(folder, "health.json", dict[str, int]) or {}
    return {url for url, status in statuses.items() if status in _GONE_STATUSES}


def _read_pins(folder: Path | None) -> list[Pin]:
    return _read_json(folder, "pins.json", list[Pin]) or []


def _read_json(folder: Path | None, name: str, kind: Any) -> Any:
    """A file of the folder, decoded as `kind`; None if there is none. Raises PackError."""
    if folder is None or not (folder / name).exists():
        return None
    try:
        return msgspec.json.decode((folder / name).read_bytes(), type=kind)
    except (msgspec.MsgspecError, OSError) as error:
        raise PackError(f"{name}: {error}") from None


def _read_manifests(folder: Path | None) -> list[Manifest]:
    found: list[Manifest] = []
    for file in sorted(folder.glob("*.manifest.json")) if folder else ():
        try:
            found.append(msgspec.json.decode(file.read_bytes(), type=Manifest))
        except (msgspec.MsgspecError, OSError) as error:
            raise PackError(f"{file.name}: {error}") from None
    return found


def _shipped_data(name: str) -> bytes:
    return resources.files("hamlet.suggest.content").joinpath("data", name).read_bytes()


def _write_atomically(file: Path, data: bytes) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(file)
