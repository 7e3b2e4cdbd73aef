"""Spans of calls and their attempts, over OTLP, without message content. Needs the extra `otel`.

Names follow OpenTelemetry's GenAI conventions:
https://github.com/open-telemetry/semantic-conventions-genai (docs/gen-ai/gen-ai-spans.md)
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, StatusCode, TraceFlags

from hamlet.core.trace import Trace, current_trace
from hamlet.gateway import Attempt, CallRecord, Observer
from hamlet.routing import LoadBalancer
from hamlet.telemetry.metrics import call_outcome

# Calls whose first token is later than the objective allows are traced.
_SLOW_FIRST_TOKEN_S = 2.56
_FAILED_OUTCOMES = ("failed", "overload", "degraded")
_EXPORT_TIMEOUT_S = 5.0
_MAX_QUEUED_SPANS = 2048


class SpanObserver(Observer):
    """An observer that creates the spans of a call at its end, if they are to be kept.

    Kept are the share `sample_ratio` of all calls (by trace id, so that all processes decide
    alike), those that the caller sampled, and all that failed, needed more than one attempt or
    had a late first token.
    """

    def __init__(
        self,
        load_balancer: LoadBalancer,
        sample_ratio: float,
        url: str = "",
        exporter: SpanExporter | None = None,
    ) -> None:
        """`url` is the collector's endpoint for traces: http://collector:4318/v1/traces."""
        self._clock = load_balancer.clock
        self._sample_ratio = sample_ratio
        self._id_generator = _PresetIdGenerator()
        self._provider = TracerProvider(
            resource=Resource({"service.name": "hamlet", "service.version": version("hamlet")}),
            id_generator=self._id_generator,
        )
        self._exporter = _CountingExporter(
            exporter or OTLPSpanExporter(url, timeout=_EXPORT_TIMEOUT_S)
        )
        processor = BatchSpanProcessor(self._exporter, max_queue_size=_MAX_QUEUED_SPANS)
        self._provider.add_span_processor(processor)
        self._created_count = self._overflow_count = 0
        self._tracer = self._provider.get_tracer("hamlet")
        self._attempts: dict[int, list[tuple[Attempt, float]]] = {}

    def on_attempt(self, record: CallRecord, attempt: Attempt) -> None:
        if record.operation != "probe":
            self._attempts.setdefault(id(record), []).append((attempt, self._clock()))

    def on_end(self, record: CallRecord) -> None:
        attempts = self._attempts.pop(id(record), [])
        parent = current_trace()
        is_parent_sampled = parent is not None and parent.sampled
        if record.trace_id and (is_parent_sampled or self._should_keep(record)):
            self._emit_spans(record, attempts, parent)

    @property
    def dropped(self) -> int:
        """Number of spans that did not reach the collector."""
        return self._overflow_count + self._exporter.failed_count

    def close(self) -> None:
        """Export the remaining spans. Blocks; call it in a thread."""
        self._provider.shutdown()

    def _should_keep(self, record: CallRecord) -> bool:
        return (
            int(record.trace_id[:8], 16) < self._sample_ratio * 2**32
            or call_outcome(record) in _FAILED_OUTCOMES
            or record.attempts > 1
            or (record.first_token_s or 0.0) > _SLOW_FIRST_TOKEN_S
        )

    def _emit_spans(
        self, record: CallRecord, attempts: list[tuple[Attempt, float]], parent: Trace | None
    ) -> None:
        self._count_overflow(1 + record.admitted + len(attempts))
        offset = time.time_ns() - int(self._clock() * 1e9)

        def at(clock: float) -> int:
            return int(clock * 1e9) + offset

        end = self._clock()
        self._id_generator.trace_id = int(record.trace_id, 16)
        # The root has the span id that upstreams got as their parent.
        self._id_generator.next_span_id = int(parent.span_id, 16) if parent else 0
        root = self._tracer.start_span(
            f"{record.operation} {record.route}",
            _parent_context(record.trace_id, parent.parent_id if parent else ""),
            SpanKind.SERVER,
            _call_attributes(record),
            start_time=at(record.started_at),
        )
        root_context = trace.set_span_in_context(root)
        if record.admitted:
            admission_span = self._tracer.start_span(
                "hamlet.admit", root_context, start_time=at(record.started_at)
            )
            admission_span.end(at(record.started_at + record.queue_s))
        for number, (attempt, ended) in enumerate(attempts, 1):
            span = self._tracer.start_span(
                f"{record.operation} {attempt.deployment.model}",
                root_context,
                SpanKind.CLIENT,
                _attempt_attributes(record, attempt, number),
                start_time=at(attempt.started_at),
            )
            answered = attempt.error is None and not attempt.cancelled
            if answered:
                span.add_event("first_chunk", timestamp=at(ended))
            if attempt.error is not None:
                span.set_status(StatusCode.ERROR)
            # A successful attempt lasts until the end of its response.
            span.end(at(end if answered else ended))
        if call_outcome(record) in _FAILED_OUTCOMES:
            root.set_status(StatusCode.ERROR)
        root.end(at(end))

    def _count_overflow(self, spans: int) -> None:
        """Count what the processor's queue drops: it drops its oldest span silently when full."""
        self._created_count += spans
        waiting = self._created_count - self._overflow_count - self._exporter.exported_count
        self._overflow_count += max(0, waiting - _MAX_QUEUED_SPANS)


class _CountingExporter(SpanExporter):
    """Wraps an exporter and counts the spans it sent and failed to send."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.exported_count = self.failed_count = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.exported_count += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                self.failed_count += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _PresetIdGenerator(IdGenerator):
    """Gives a root span the trace id of logs and exemplars, and the span id sent upstream."""

    def __init__(self) -> None:
        self.trace_id = self.next_span_id = 0

    def generate_trace_id(self) -> int:
        return self.trace_id

    def generate_span_id(self) -> int:
        preset, self.next_span_id = self.next_span_id, 0
        return preset or secrets.randbits(64) or 1


def _parent_context(trace_id: str, parent_id: str) -> Any:
    if not parent_id:
        return trace.set_span_in_context(trace.INVALID_SPAN)
    flags = TraceFlags(TraceFlags.SAMPLED)
    context = SpanContext(int(trace_id, 16), int(parent_id, 16), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(context))


def _call_attributes(record: CallRecord) -> dict[str, Any]:
    usage = record.usage
    return _without_none(
        {
            "hamlet.request_id": record.request_id,
            "hamlet.route": record.route,
            "hamlet.outcome": call_outcome(record),
            "hamlet.attempts": record.attempts,
            "hamlet.tier": record.tier + 1,
            "gen_ai.operation.name": record.operation,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.response.finish_reasons": [str(record.finish_reason)]
            if record.finish_reason
            else None,
            "error.type": record.error.code if record.error else None,
        }
    )


def _attempt_attributes(record: CallRecord, attempt: Attempt, number: int) -> dict[str, Any]:
    error = attempt.error
    return _without_none(
        {
            "hamlet.attempt": number,
            "hamlet.way": attempt.reason,
            "hamlet.deployment": attempt.deployment.id,
            "gen_ai.operation.name": record.operation,
            "gen_ai.provider.name": attempt.deployment.provider.name,
            "gen_ai.request.model": attempt.deployment.model,
            "error.type": error.code if error else None,
            "http.response.status_code": error.upstream_status if error else None,
            "hamlet.upstream_request_id": error.upstream_id if error else None,
        }
    )


def _without_none(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
