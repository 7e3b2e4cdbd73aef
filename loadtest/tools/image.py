"""Build the image and run it: `make image` (root on Debian; some minutes the first time).

buildah builds the Dockerfile on a root file system of Debian packages. The image runs as its configuration
says (entry point, user, stop signal) in its own mount and process namespaces with a read-only root, without
capabilities and without new privileges. This is no container runtime: it has no cgroups and no seccomp,
which a build machine may not offer.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtest import ROOT
from loadtest.engine.processes import free_port

_STORE = ROOT / ".image"
_BASE, _IMAGE, _TAG = "localhost/hamlet-base", "localhost/hamlet", "check"
_PACKAGES = "ca-certificates,python3,python3-venv"
_KEY = "sk-image-check-0123456789"
_CONFIG = """
keys: [{name: check, secret: "file:secrets/HAMLET_KEY"}]
providers: {embedded: {kind: embedded}}
routes: {hamlet: {deployments: [{provider: embedded, model: embedded-chat}]}}
telemetry: {admin_port: 0}
"""
# The machine's certificates and package settings, if there are any; none of them stays in the image.
_HOST_MOUNTS = ("/etc/pip.conf", "/etc/ssl/certs")
Rows = list[tuple[str, str]]


def main() -> None:
    """Build the image, run it, call it, stop it; print a table of the results."""
    rows: Rows = []
    _build_image(rows)
    with _mounted() as (root, config):
        _inspect_image(root, config, rows)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)
            (folder / "secrets").mkdir()
            (folder / "secrets/HAMLET_KEY").write_text(_KEY + "\n")
            (folder / "hamlet.yaml").write_text(_CONFIG)
            _run_image(root, config, folder, rows)
    print("| what | result |\n|---|---|")
    print("\n".join(f"| {what} | {seen} |" for what, seen in rows))


def _buildah(*args: str, **options: Any) -> str:
    stores = ("--root", str(_STORE / "store"), "--runroot", str(_STORE / "run"))
    command = ("buildah", *stores, "--storage-driver", "vfs", *args)
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, **options
    )
    if done.returncode:
        sys.exit(f"buildah {args[0]} failed ({done.returncode})")
    return done.stdout.strip()


def _build_image(rows: Rows) -> None:
    begin = time.monotonic()
    if _BASE not in _buildah("images", "--format", "{{.Name}}"):
        _build_base()
        rows.append(("base of Debian's packages", f"{time.monotonic() - begin:.0f} s"))
    begin = time.monotonic()
    revision = subprocess.check_output(("git", "rev-parse", "HEAD"), cwd=ROOT, text=True).strip()  # noqa: S607
    mounts = [
        word for path in _HOST_MOUNTS if Path(path).exists() for word in ("-v", f"{path}:{path}:ro")
    ]
    words = ("build", "--isolation", "chroot", "--format", "docker", *mounts)
    args = ("--build-arg", f"BASE={_BASE}", "--build-arg", f"REVISION={revision}")
    # With the storage driver vfs each cached layer would be a full copy, so nothing is cached.
    _buildah(*words, *args, "-t", f"{_IMAGE}:{_TAG}", str(ROOT), stderr=sys.stdout)
    rows.append((f"`buildah build` at {revision[:7]}", f"{time.monotonic() - begin:.0f} s"))


def _build_base() -> None:
    codename = "bookworm"
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            codename = line.partition("=")[2]
    _STORE.mkdir(exist_ok=True)
    tar = _STORE / "base.tar"
    if not tar.exists():
        command = ("mmdebstrap", "--quiet", "--variant=minbase", f"--include={_PACKAGES}")
        part = tar.with_suffix(".part.tar")
        subprocess.run((*command, codename, str(part)), check=True)
        part.rename(tar)
    path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    (_STORE / "Base").write_text(f"FROM scratch\nADD base.tar /\n{path}\n")
    _buildah("build", "--isolation", "chroot", "-f", str(_STORE / "Base"), "-t", _BASE, str(_STORE))


@contextlib.contextmanager
def _mounted() -> Iterator[tuple[Path, dict[str, Any]]]:
    """The image's files, and its configuration."""
    name = _buildah("from", "--pull-never", f"{_IMAGE}:{_TAG}")
    try:
        inspected = json.loads(_buildah("inspect", name))
        yield Path(_buildah("mount", name)), inspected["Docker"]["config"]
    finally:
        _buildah("rm", name)


def _inspect_image(root: Path, config: dict[str, Any], rows: Rows) -> None:
    install_root = root / "opt/hamlet"
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert not list(install_root.glob("lib/*/site-packages/pip")), "an installer is shipped"
    assert not list(install_root.glob("lib/*/site-packages/*.pth")), (
        "the project is installed editable"
    )
    assert list(install_root.glob("lib/*/site-packages/hamlet/__pycache__/app.*.pyc")), (
        "not compiled"
    )
    sbom = json.loads((install_root / "sbom.cdx.json").read_text())
    sizes = [_megabytes(path) for path in (root, install_root)]
    rows.append(("size", f"{sizes[0]} MB, of it hamlet and what it needs {sizes[1]} MB"))
    sbom_summary = f"CycloneDX {sbom['specVersion']}, {len(sbom['components'])} components"
    rows.append(("bill of materials in the image", sbom_summary))
    rows.append(("entry", " ".join(config["Entrypoint"] + config["Cmd"])))


def _megabytes(path: Path) -> int:
    return int(subprocess.check_output(("du", "-sxm", path), text=True).split()[0])  # noqa: S607


# $1 are the image's files, $2 its /etc/hamlet; the other arguments are the command.
_ENTER = """
set -eu
mount --make-rprivate /
mount --bind "$1" "$1"; mount --bind "$2" "$1/etc/hamlet"
mount -o remount,bind,ro "$1/etc/hamlet"; mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"; mount -t tmpfs tmpfs "$1/tmp"
mount --rbind /dev "$1/dev"
root=$1; shift 2
exec chroot "$root" /usr/bin/setpriv --reuid=10001 --regid=10001 --clear-groups --bounding-set=-all --no-new-privs "$@"
"""


def _container_command(root: Path, folder: Path, *more: str) -> tuple[str, ...]:
    unshare = ("unshare", "--mount", *more, "sh", "-c", _ENTER, "sh")
    return (*unshare, str(root), str(folder))


def _run_image(root: Path, config: dict[str, Any], folder: Path, rows: Rows) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    env = dict(pair.split("=", 1) for pair in config["Env"])
    command = [*config["Entrypoint"], *config["Cmd"], "--port", str(port)]
    (root / "etc/hamlet").mkdir(exist_ok=True)
    begin = time.monotonic()
    with (folder / "log").open("w") as log:
        unshare = _container_command(root, folder, "--pid", "--fork", "--kill-child")
        outer = subprocess.Popen((*unshare, *command), stdout=log, stderr=log, env=env)
    try:
        _wait_until_ready(url, outer, folder / "log")
        rows.append(("serving, by /readyz", f"{time.monotonic() - begin:.1f} s after the start"))
        pid = int(Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()[0])
        _check_process(pid, rows)
        rows.append(
            (
                "`GET /livez`, `/readyz`",
                f"{_get_status(url, '/livez')}, {_get_status(url, '/readyz')}",
            )
        )
        rows.append(("a chat response", _call_chat(url)))
        check = (*_container_command(root, folder), *config["Healthcheck"]["Test"][1:])
        healthy = subprocess.run((*check, url), env=env, capture_output=True, text=True)
        assert healthy.returncode == 0, healthy.stderr
        os.kill(pid, signal.SIGTERM)
        begin = time.monotonic()
        status = outer.wait(60)
        took = time.monotonic() - begin
        assert status == 0, (folder / "log").read_text()
        rows.append((f"SIGTERM to process 1 ({took:.1f} s, the drain's delay is 1 s)", "status 0"))
        unhealthy = subprocess.run((*check, url), env=env, capture_output=True, text=True)
        assert unhealthy.returncode == 1
        seen = f"{healthy.returncode}; once it is stopped {unhealthy.returncode}"
        rows.append(("HEALTHCHECK's status while it serves", seen))
    finally:
        if outer.poll() is None:
            outer.kill()
            outer.wait()


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    while process.poll() is None:
        with contextlib.suppress(OSError):
            if _get_status(url, "/readyz") == 200:
                return
        time.sleep(0.1)
    sys.exit(log.read_text())


def _check_process(pid: int, rows: Rows) -> None:
    """Check the process's user, capabilities, process id and read-only root in /proc."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    assert status["Uid"].split() == ["10001"] * 4
    assert status["Gid"].split() == ["10001"] * 4
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["NSpid"].split()[-1] == "1"
    mounts = [line.split() for line in Path(f"/proc/{pid}/mounts").read_text().splitlines()]
    top = next(row for row in mounts if row[1] == "/")
    assert "ro" in top[3].split(","), top
    rows.append(("the process", "uid 10001, no capabilities, no new privileges, root read-only"))


def _get_status(url: str, path: str) -> int:
    with urllib.request.urlopen(url + path, timeout=5) as answer:  # noqa: S310
        return int(answer.status)


def _call_chat(url: str) -> str:
    body = {"model": "hamlet", "messages": [{"role": "user", "content": "hello"}]}
    headers = {"authorization": f"Bearer {_KEY}", "content-type": "application/json"}
    request = urllib.request.Request(  # noqa: S310
        f"{url}/v1/chat/completions", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
        response = json.load(answer)
    text = response["choices"][0]["message"]["content"]
    assert text
    return f"200, {len(text)} characters, by a key from a file"


if __name__ == "__main__":
    main()
