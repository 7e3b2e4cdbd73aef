"""Spans over OTLP, as a collector gets them: their tree, their names, and nothing that was said."""

import asyncio
import gzip
import sys

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hamlet.app import Hamlet
from hamlet.config import ConfigError, loads
from hamlet.core.trace import start_trace
from hamlet.testing import Canned, LoopbackUpstream, json_reply
from support.fault_harness import (
    CLIENT_KEY,
    GOOD_ANSWER_TEXT,
    PROMPT,
    RETRY_POLICY,
    UPSTREAM_KEY,
    fault_harness,
    provider,
    respond_ok,
)
from support.loopback_vendor import wire_for
from support.server import EMBEDDED_PROVIDER, EMBEDDED_ROUTES

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def exported_spans(collector: LoopbackUpstream) -> list:
    spans = []
    for request in collector.requests:
        body = request.body
        body = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        message = ExportTraceServiceRequest.FromString(body)
        spans += [s for r in message.resource_spans for g in r.scope_spans for s in g.spans]
    return spans


def span_attributes(span) -> dict:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


async def test_a_failed_attempt_and_its_successor_are_children_of_the_callers_trace() -> None:
    async with LoopbackUpstream() as bad, LoopbackUpstream() as good, LoopbackUpstream() as otlp:
        bad.respond(lambda request: json_reply(wire_for(request).error(500), 500))
        good.respond(respond_ok)
        otlp.respond(lambda request: Canned(200))
        config = {
            "telemetry": {"otlp": f"{otlp.url}/v1/traces", "sample": 0},
            "providers": {"bad": provider("openai", bad.url), "good": provider("openai", good.url)},
            "routes": {
                "r": {
                    "tiers": [
                        [{"provider": "bad", "model": "m1"}],
                        [{"provider": "good", "model": "m2"}],
                    ],
                    "policy": RETRY_POLICY,
                },
                "fine": {"deployments": [{"provider": "good", "model": "m3"}]},
            },
        }
        async with fault_harness(config) as stage:
            stage.http.headers["traceparent"] = f"00-{TRACE}-{PARENT}-00"
            assert (await stage.chat("r")).text == GOOD_ANSWER_TEXT
            await stage.chat("fine")
        spans = exported_spans(otlp)
        raw = b"".join(request.body for request in otlp.requests)
    names = {span.name: span for span in spans}
    assert set(names) == {"chat r", "hamlet.admit", "chat m1", "chat m2"}, "the quiet call is not"
    root = names["chat r"]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert root.parent_span_id.hex() == PARENT
    assert {names[n].parent_span_id for n in ("chat m1", "chat m2")} == {root.span_id}
    failed, answered = span_attributes(names["chat m1"]), span_attributes(names["chat m2"])
    assert failed["error.type"] == "upstream_unavailable"
    assert failed["http.response.status_code"] == 500
    assert answered["hamlet.way"] == "failover"
    assert answered["gen_ai.provider.name"] == "good"
    assert [event.name for event in names["chat m2"].events] == ["first_chunk"]
    assert span_attributes(root)["gen_ai.usage.output_tokens"] == 9
    assert root.start_time_unix_nano <= names["chat m1"].start_time_unix_nano
    assert names["chat m2"].end_time_unix_nano <= root.end_time_unix_nano
    for secret in (PROMPT, GOOD_ANSWER_TEXT, CLIENT_KEY, UPSTREAM_KEY):
        assert secret.encode() not in raw
        assert secret not in str(spans)


@pytest.mark.parametrize("transport", ["httptools", "aiohttp"])
async def test_trace_context_is_propagated_only_where_allowed(transport) -> None:
    async with LoopbackUpstream() as trusted, LoopbackUpstream() as other:
        async with LoopbackUpstream() as otlp:
            for upstream in (trusted, other):
                upstream.respond(respond_ok)
            otlp.respond(lambda request: Canned(200))
            known = provider("openai", trusted.url)
            known |= {"traceparent": True, "transport": transport}
            config = {
                "telemetry": {"otlp": f"{otlp.url}/v1/traces"},
                "providers": {"known": known, "other": provider("openai", other.url)},
                "routes": {
                    "known": {"deployments": [{"provider": "known", "model": "m"}]},
                    "other": {"deployments": [{"provider": "other", "model": "m"}]},
                },
            }
            async with fault_harness(config) as stage:
                stage.http.headers["traceparent"] = f"00-{TRACE}-{PARENT}-01"
                await stage.chat("known")
                await stage.chat("other")
            root = next(span for span in exported_spans(otlp) if span.name == "chat known")
    sent = trusted.requests[0].headers["traceparent"]
    assert sent == f"00-{TRACE}-{root.span_id.hex()}-01"
    assert root.parent_span_id.hex() == PARENT
    assert "traceparent" not in other.requests[0].headers


async def test_spans_that_a_collector_refuses_are_counted() -> None:
    async with LoopbackUpstream() as good, LoopbackUpstream() as otlp:
        good.respond(respond_ok)
        otlp.respond(lambda request: Canned(400))
        config = {
            "telemetry": {"otlp": f"{otlp.url}/v1/traces", "sample": 1},
            "providers": {"good": provider("openai", good.url)},
            "routes": {"r": {"deployments": [{"provider": "good", "model": "m"}]}},
        }
        async with fault_harness(config) as stage:
            await stage.chat("r")
            spans = stage.running.hamlet._span_exporters[0]
            assert "hamlet_spans_dropped_total 0.0" in await stage.metrics()
            await asyncio.to_thread(spans._provider.force_flush)
            assert "hamlet_spans_dropped_total 3.0" in await stage.metrics()


def test_without_the_extra_the_setting_is_refused_with_its_line(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "hamlet.telemetry.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    loaded = loads(
        EMBEDDED_PROVIDER + EMBEDDED_ROUTES + "telemetry: {otlp: 'http://127.0.0.1:1/v1/traces'}\n"
    )
    with pytest.raises(ConfigError, match=r"telemetry\.otlp.*hamlet\[otel\]"):
        Hamlet(loaded)


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"01-{TRACE}-{PARENT}-01-later", True),
        (f"00-{TRACE}-{PARENT}-01-more", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{TRACE.upper()}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE}-{PARENT}", False),
        ("", False),
        (None, False),
    ],
)
def test_a_valid_traceparent_is_continued_and_any_other_begins_a_trace(header, kept) -> None:
    trace = start_trace(header)
    assert (trace.trace_id == TRACE) is kept
    assert trace.sampled is kept
    assert len(trace.trace_id) == 32
