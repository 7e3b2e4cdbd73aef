"""Several workers on one socket: replaced without a failed call, restarted, never orphaned."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from support.paths import ROOT
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, wait_until
from support.server_process import run_server_process

CONFIG = "server: {drain_delay_s: 0.2, drain_s: 5}\n" + EMBEDDED_PROVIDER + EMBEDDED_ROUTES


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "hamlet.yaml"
    path.write_text(CONFIG)
    return path


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_rolling_restarts_under_load_fail_no_call() -> None:
    small = ["--restarts", "2", "--requests", "300", "--rps", "75", "--streams", "20"]
    ran = subprocess.run(
        [sys.executable, "-m", "loadtest.scenarios.rolling_restarts", *small, "--tokens", "8"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 rolling restarts" in ran.stdout
    assert ", 0 failed" in ran.stdout


async def test_worker_restart_reload_and_orphan_handling(config_file) -> None:
    async with (
        run_server_process(config_file, "--workers", "2") as hamlet,
        httpx2.AsyncClient() as http,
    ):

        def count_log_events(event: str) -> int:
            return hamlet.log.read_text().count(event)

        before = hamlet.worker_pids()
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        await wait_until(lambda: count_log_events("worker.ready") == 3)
        assert (await http.get(f"{hamlet.url}/readyz")).status_code == 200

        hamlet.send_signal(signal.SIGHUP)
        await wait_until(lambda: count_log_events("config.reloaded") == 2)

        now = hamlet.worker_pids()
        assert len(set(now) - set(before)) == 1
        config_file.write_text(CONFIG.replace("kind: embedded", "kind: nobody"))
        hamlet.send_signal(signal.SIGUSR2)
        await wait_until(lambda: count_log_events("restart.given_up") == 1)
        assert hamlet.worker_pids() == now
        assert (await http.get(f"{hamlet.url}/readyz")).status_code == 200

        hamlet.process.kill()
        await wait_until(lambda: not any(is_alive(pid) for pid in now))


async def test_supervisor_exits_if_workers_refuse_their_configuration(tmp_path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(CONFIG.replace("kind: embedded", "kind: nobody"))
    words = ("-m", "hamlet", "serve", "--port", "0", "--workers", "2", "--config", str(file))
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out) == (2, b"")
    assert b"nobody" in err


async def test_systemd_socket_activation_and_readiness_notification(config_file, tmp_path) -> None:
    """The intermediate program acts as systemd: it sets LISTEN_PID to the process it becomes."""
    listener = socket.create_server(("127.0.0.1", 0))
    notify_socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify_socket.bind(str(tmp_path / "notify"))
    notify_socket.settimeout(30)
    become = (
        "import os,sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1'); "
        "os.execv(sys.executable, [sys.executable, '-m', 'hamlet', 'serve', *sys.argv[2:]])"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", become, str(listener.fileno()), "--config", str(config_file)),
        pass_fds=[listener.fileno()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
    )
    try:
        assert await asyncio.to_thread(notify_socket.recv, 64) == b"READY=1"
        port = listener.getsockname()[1]
        async with httpx2.AsyncClient() as http:
            assert (await http.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
        assert process.stdout
        greeting = await process.stdout.readline()
        assert re.search(rb":%d\b" % port, greeting)
    finally:
        process.terminate()
        assert await process.wait() == 0
        listener.close()
        notify_socket.close()
