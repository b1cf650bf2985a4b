"""Makes spans with OpenTelemetry's SDK and sends them; imported only when somebody listens.

Names and attributes are those of OpenTelemetry's conventions (HTTP: stable; messaging: as of 1.45).
What is known of an error is its class: no prompt, address, e-mail, key, token or words of an error
is ever in a span, and a request is known by its route's template.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from contracts.envelope import Envelope
from kernel.context import (
    Origin,
    current_origin,
    given_origin,
    origin_of_message,
    with_traceparent,
)
from kernel.errors import Deferred, Error
from kernel.event_store import AlreadyHandled

TRACES_PATH: Final = "/v1/traces"
QUEUE_MAX: Final = 4_096
"""Spans that wait to be sent; more are dropped, never waited for."""
BATCH_MAX: Final = 512
SEND_EVERY_MS: Final = 1_000
SEND_TIMEOUT_S: Final = 5.0
SERVER_FAULT: Final = 500
OTHER_METHOD: Final = "_OTHER"
"""A method that is none of HTTP's: a client may send any."""


class ServerSpan:
    """The span of a request under way; `origin` is what the request's work is on behalf of."""

    def __init__(self, span: Span, verb: str, origin: Origin) -> None:
        self._span = span
        self._verb = verb
        self.origin = origin

    def end(self, route: str | None, status: int, error: BaseException | None) -> None:
        """`route` is the template, None when none matched."""
        if route is not None:
            self._span.update_name(f"{self._verb} {route}")
            self._span.set_attribute("http.route", route)
        self._span.set_attribute("http.response.status_code", status)
        if error is not None:
            _note(self._span, error)
        elif status >= SERVER_FAULT:
            self._span.set_attribute("error.type", str(status))
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Exporting:
    """Spans of every service in this process through one `processor`, each service's under its own
    `service.name`."""

    def __init__(self, processor: SpanProcessor, messaging_system: str) -> None:
        self._processor = processor
        self._messaging_system = messaging_system
        self._tracers: dict[str, Tracer] = {}

    @classmethod
    def to_collector(cls, endpoint: str, messaging_system: str) -> "Exporting":
        """By OTLP over HTTP, in batches, from a thread of its own; what does not fit is dropped."""
        exporter = OTLPSpanExporter(endpoint.rstrip("/") + TRACES_PATH, timeout=SEND_TIMEOUT_S)
        processor = BatchSpanProcessor(
            exporter,
            max_queue_size=QUEUE_MAX,
            max_export_batch_size=BATCH_MAX,
            schedule_delay_millis=SEND_EVERY_MS,
        )
        return cls(processor, messaging_system)

    def close(self, timeout_s: float) -> bool:
        """Send what waits, at most `timeout_s` (blocking); whether all was given to the collector.

        In a thread, because the SDK's own end may take half a minute when nobody answers.
        """
        ending = threading.Thread(target=self._processor.shutdown, daemon=True)
        ending.start()
        ending.join(timeout_s)
        return not ending.is_alive()

    def serving(self, service: str, method: str, origin: Origin, *, begins: bool) -> ServerSpan:
        verb = "HTTP" if method == OTHER_METHOD else method
        span = self._tracer(service).start_span(
            verb,
            _parent(None if begins else origin.traceparent),
            SpanKind.SERVER,
            {"http.request.method": method},
        )
        traced = Origin(origin.correlation_id, origin.causation_id, _traceparent_of(span))
        return ServerSpan(span, verb, traced)

    @contextmanager
    def span(self, service: str, name: str) -> Iterator[None]:
        """Inside a service; the beginning of a trace where nobody asked."""
        given = given_origin()
        parent = None if given is None else given.traceparent
        span = self._tracer(service).start_span(name, _parent(parent))
        with _running(span, given or current_origin()):
            yield

    @contextmanager
    def publishing(self, service: str, envelope: Envelope) -> Iterator[Envelope]:
        origin = origin_of_message(envelope)
        span = self._tracer(service).start_span(
            f"publish {envelope.type}",
            _parent(origin.traceparent),
            SpanKind.PRODUCER,
            self._messaging(envelope, f"{service}.events", "publish", "send"),
        )
        with _running(span, origin):
            yield envelope.model_copy(update={"traceparent": _traceparent_of(span)})

    @contextmanager
    def handling(self, consumer: str, envelope: Envelope) -> Iterator[None]:
        origin = origin_of_message(envelope)
        producer = _context_in(origin.traceparent)
        span = self._tracer(consumer).start_span(
            f"handle {envelope.type}",
            _parent(origin.traceparent),
            SpanKind.CONSUMER,
            self._messaging(envelope, f"{consumer}.inbox", "handle", "process"),
            [] if producer is None else [Link(producer)],
        )
        with _running(span, origin):
            yield

    def _messaging(
        self, envelope: Envelope, destination: str, name: str, kind: str
    ) -> Mapping[str, str]:
        return {
            "messaging.system": self._messaging_system,
            "messaging.destination.name": destination,
            "messaging.operation.name": name,
            "messaging.operation.type": kind,
            "messaging.message.id": str(envelope.id),
            "messaging.message.conversation_id": envelope.correlationid,
        }

    def _tracer(self, service: str) -> Tracer:
        tracer = self._tracers.get(service)
        if tracer is None:
            provider = TracerProvider(
                resource=Resource.create({"service.name": service}), shutdown_on_exit=False
            )
            provider.add_span_processor(self._processor)
            tracer = self._tracers[service] = provider.get_tracer("smartspec")
        return tracer


@contextmanager
def _running(span: Span, origin: Origin) -> Iterator[None]:
    try:
        with with_traceparent(_traceparent_of(span), origin):
            yield
    except BaseException as error:
        _note(span, error)
        raise
    finally:
        span.end()


def _note(span: Span, error: BaseException) -> None:
    """Its class alone; a refusal and a repeated message are answers, not faults."""
    span.set_attribute("error.type", type(error).__name__)
    refused = isinstance(error, Error) and error.status < SERVER_FAULT
    if not refused and not isinstance(error, AlreadyHandled | Deferred):
        span.set_status(StatusCode.ERROR)


def _parent(traceparent: str | None) -> Context:
    """The context of what began elsewhere; an empty one begins a trace."""
    context = _context_in(traceparent)
    return Context() if context is None else set_span_in_context(NonRecordingSpan(context))


def _context_in(traceparent: str | None) -> SpanContext | None:
    if traceparent is None:
        return None
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )


def _traceparent_of(span: Span) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
