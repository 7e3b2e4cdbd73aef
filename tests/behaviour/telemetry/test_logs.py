"""Log lines: written by a thread without blocking; circuit breaker changes are logged."""

import io
import json
import threading

from hamlet.telemetry import make_log
from hamlet.telemetry.background_writer import BackgroundWriter
from hamlet.testing import json_reply
from support.fault_harness import UpstreamFault, failover_harness


class StalledStream:
    """A stream whose reader has stalled until `go`."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.lines: list[str] = []

    def write(self, text: str) -> None:
        self.release.wait(10)
        self.lines.append(text)

    def flush(self) -> None:
        return


def test_stalled_log_reader_drops_lines_without_blocking() -> None:
    stream = StalledStream()
    writer = BackgroundWriter(stream, max_lines=10)
    log = make_log(stream=writer)
    for i in range(30):
        log.info("line", i=i)
    assert 15 <= writer.dropped <= 50
    stream.release.set()
    writer.close()
    lines = [json.loads(line) for line in "".join(stream.lines).split("\n") if line]
    assert [line["i"] for line in lines][:3] == [0, 1, 2]


def test_lines_are_whole_and_in_order_when_it_is_closed(tmp_path) -> None:
    with (tmp_path / "log").open("w") as stream:
        writer = BackgroundWriter(stream)
        log = make_log(stream=writer)
        for i in range(500):
            log.line("call", {"i": i})
        writer.close()
    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line)["i"] for line in lines] == list(range(500))
    assert writer.dropped == 0


def test_ids_are_logged_and_keys_are_redacted() -> None:
    stream = io.StringIO()
    trace = "0af7651916cd43dd8448eb211c80319c"
    make_log(stream=stream).warning("attempt.failed", trace_id=trace, error=f"key {trace} refused")
    line = json.loads(stream.getvalue())
    assert line["trace_id"] == trace
    assert line["error"] == "key [redacted] refused"


def test_a_reader_that_has_gone_is_no_error(tmp_path) -> None:
    stream = (tmp_path / "log").open("w")
    stream.close()
    writer = BackgroundWriter(stream)
    writer.write("lost\n")
    writer.close()
    assert writer.dropped == 1


async def test_breaker_opening_is_logged_once() -> None:
    fault = UpstreamFault(
        stream=lambda wire: json_reply(wire.error(500), 500),
        non_streaming=lambda wire: json_reply(wire.error(500), 500),
    )
    async with failover_harness({"down": fault}) as stage:
        for _ in range(6):
            await stage.chat("openai-openai/down/stream")
        changes = [line for line in stage.log if line["event"] == "breaker.changed"]
    assert [(line["deployment"], line["state"], line["reason"]) for line in changes] == [
        ("bad-openai/openai-openai/down/stream", "open", "failures")
    ]
    assert changes[0]["opens_in_s"] > 5
