"""What the tests of traces share: spans that stay in memory, and how they hang together."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kernel.telemetry import tracing
from kernel.telemetry.exporting import Exporting


class Spans:
    """Those that have ended, oldest first."""

    def __init__(self) -> None:
        self._memory = InMemorySpanExporter()
        self.exporting = Exporting(SimpleSpanProcessor(self._memory), "memory")

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self._memory.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def text(self) -> str:
        """All that would be sent."""
        return "\n".join(span.to_json() for span in self.all)


@contextmanager
def traced() -> Iterator[Spans]:
    """Tracing is on, and its spans stay here."""
    spans = Spans()
    tracing.export_to(spans.exporting)
    try:
        yield spans
    finally:
        tracing.export_to(None)


def traceparent_of(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def parent_of(span: ReadableSpan) -> str | None:
    """The parent's traceparent; None where the trace begins."""
    if span.parent is None:
        return None
    flags = span.parent.trace_flags
    return f"00-{span.parent.trace_id:032x}-{span.parent.span_id:016x}-{flags:02x}"


def service_of(span: ReadableSpan) -> object:
    return span.resource.attributes["service.name"]
