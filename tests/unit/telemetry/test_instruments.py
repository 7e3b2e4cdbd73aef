"""Metrics and logs cost little, and say what the library and structlog would have said."""

import io
import json

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from hamlet.telemetry import make_log
from hamlet.telemetry.instruments import Histogram

BUCKETS = (0.1, 1.0, 10.0)


def test_our_histogram_is_exposed_as_the_librarys_is() -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    library = prometheus_client.Histogram("h", "text", ("a", "b"), buckets=BUCKETS, registry=theirs)
    histogram = Histogram("h", "text", ("a", "b"), buckets=BUCKETS, registry=ours)
    for labels, value in (
        (("x", "y"), 0.1),
        (("x", "y"), 0.100001),
        (("x", 'q"'), 11),
        (("x", "y"), 0),
    ):
        library.labels(*labels).observe(value)
        histogram.observe(labels, value)
    expected = [
        line for line in generate_latest(theirs).decode().splitlines() if "_created" not in line
    ]
    assert generate_latest(ours).decode().splitlines() == expected
    with pytest.raises(ValueError, match="Duplicated"):
        Histogram("h", "text", (), buckets=BUCKETS, registry=ours)


def test_the_line_of_a_call_looks_like_any_other() -> None:
    out = io.StringIO()
    log = make_log("info", stream=out)
    log.info("call", route="r", n=1)
    log.line("call", {"route": "r", "n": 1})
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert first.keys() == second.keys()
    for line in (first, second):
        assert line.pop("timestamp").endswith("Z")
    assert first == second


def test_a_quieter_log_writes_no_lines_of_calls() -> None:
    out = io.StringIO()
    make_log("warning", stream=out).line("call", {})
    assert out.getvalue() == ""
    assert not hasattr(make_log("info", "console", out), "line")
