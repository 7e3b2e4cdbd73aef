"""Health and metrics on a port of their own, in a served process."""

import asyncio
import json
import signal
import socket
import sys
from asyncio.subprocess import PIPE

import httpx2
import pytest

from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES, wait_until


@pytest.mark.slow
async def test_metrics_are_on_the_admin_port_alone_and_stay_while_draining(tmp_path) -> None:
    config = tmp_path / "hamlet.yaml"
    config.write_text(
        EMBEDDED_PROVIDER
        + EMBEDDED_ROUTES
        + "telemetry: {admin_port: 0}\nserver: {drain_delay_s: 3}\n"
    )
    command = (sys.executable, "-m", "hamlet", "serve", "--port", "0", "--config", str(config))
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    try:
        async with asyncio.timeout(30):
            port = None
            while port is None:
                line = json.loads(await process.stderr.readline())
                port = line["port"] if line["event"] == "admin.served" else None
            url = (await process.stdout.readline()).decode().split()[-1]
            async with httpx2.AsyncClient() as http:
                admin = f"http://127.0.0.1:{port}"
                assert (await http.get(f"{url}/metrics")).status_code == 404
                assert (await http.get(f"{url}/readyz")).status_code == 200
                assert "hamlet_ready 1.0" in (await http.get(f"{admin}/metrics")).text
                process.send_signal(signal.SIGTERM)

                async def is_unready() -> bool:
                    return (await http.get(f"{admin}/readyz")).status_code == 503

                await wait_until(is_unready, interval_s=0.02)
                await asyncio.sleep(1.0)
                assert "hamlet_draining 1.0" in (await http.get(f"{admin}/metrics")).text
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_a_taken_admin_port_does_not_stop_the_serving() -> None:
    from hamlet.serving.admin_server import AdminServer
    from hamlet.testing.support import SilentLog

    class Log(SilentLog):
        events: list[str] = []

        def error(self, event, **fields):
            self.events.append(event)

    async def app(scope, receive, send):
        raise AssertionError

    async def begin(port: int) -> None:
        admin_server = AdminServer(app, "127.0.0.1", port, Log())
        await admin_server.start()
        await admin_server.aclose()

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        asyncio.run(begin(taken.getsockname()[1]))
    assert Log.events == ["admin.not_served"]
