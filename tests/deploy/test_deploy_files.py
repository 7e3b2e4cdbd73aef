"""The files under deploy/ are valid for the programs that read them."""

import subprocess
from collections.abc import Mapping, Set
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.helm_chart import ROOT, find_tool

SCRIPTS = sorted((ROOT / "deploy").glob("*.sh"))


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words], capture_output=True, text=True, timeout=120, cwd=ROOT
    )


def test_hadolint_finds_nothing_in_the_dockerfile(tmp_path: Path) -> None:
    done = run(find_tool("hadolint"), "Dockerfile")
    assert done.returncode == 0, done.stdout
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nRUN pip install hamlet\n")
    assert run(find_tool("hadolint"), tmp_path / "Dockerfile").returncode != 0, "the check can fail"


def test_image_contains_only_pinned_packages() -> None:
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert allowed[1] == "*", "an allow-list"
    copied = [
        word
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert {f"!{word}" for word in copied} == {line for line in allowed if line.startswith("!")}
    lock = (ROOT / "requirements/image.txt").read_text()
    for package in ("redis", "opentelemetry-sdk", "aiohttp"):
        assert f"\n{package}==" in lock
    pins = {
        line.split(" ")[0]
        for line in (ROOT / "requirements/dev.txt").read_text().splitlines()
        if "==" in line
    }
    shipped = {line.split(" ")[0] for line in lock.splitlines() if "==" in line}
    assert not {
        pin for pin in shipped - pins if pin.split("==")[0] in {p.split("==")[0] for p in pins}
    }, "the image has other versions than the tests: make lock"


# The extras of each package in a lock file or in its requirements.
Extras = Mapping[str, Set[str]]


def pinned_extras(lock: str) -> Extras:
    lines = (ROOT / f"requirements/{lock}.txt").read_text().splitlines()
    pins = [Requirement(line.rstrip(" \\")) for line in lines if "==" in line]
    return {canonicalize_name(pin.name): pin.extras for pin in pins}


def required_extras(pins: Extras) -> Extras:
    """Requirements with extras of the installed pinned packages, on this machine."""
    found: dict[str, set[str]] = {}
    for name, extras in pins.items():
        try:
            rows = [Requirement(row) for row in requires(name) or ()]
        except PackageNotFoundError:
            continue
        for row in rows:
            wanted = [{"extra": extra} for extra in ("", *extras)]
            if row.extras and (row.marker is None or any(map(row.marker.evaluate, wanted))):
                found.setdefault(canonicalize_name(row.name), set()).update(row.extras)
    return found


@pytest.mark.parametrize("lock", ["dev", "image"])
def test_lock_file_pins_required_extras(lock: str) -> None:
    # pip resolves extras separately, and rejects an install by hashes once a newer version is published.
    pins, needed = pinned_extras(lock), required_extras(pinned_extras(lock))
    assert needed, "something is calls for, or this proves nothing"
    for name, extras in needed.items():
        assert extras <= pins.get(name, set()), (
            f"{lock}.txt lacks {name}{sorted(extras)}: make lock"
        )


def test_yamllint_finds_nothing() -> None:
    done = run(find_tool("yamllint"), "--strict", "deploy", "dashboards")
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_shellcheck_and_are_executable(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    assert run("sh", "-n", script).returncode == 0


@pytest.mark.parametrize(
    ("apt", "status", "message"), [("true", 0, ""), ("false", 1, "MISSING: nodejs npm.\n")]
)
def test_missing_programs_are_installed_by_their_packages_or_named(
    apt: str, status: int, message: str, tmp_path: Path
) -> None:
    stubs = {"id": "echo 0", "apt-get": f'echo "$@" >> {tmp_path}/calls; {apt}'}
    for name, does in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [ROOT / "deploy/programs.sh", "id", "node:nodejs", "npm"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (status, message)
    calls = (tmp_path / "calls").read_text().splitlines()
    assert calls[-1].endswith(" nodejs npm") is not bool(status)
