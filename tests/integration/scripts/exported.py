"""Sends spans as any program does that knows OpenTelemetry only, and nothing of MLflow."""

import json
import random
import sys
import threading

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator

BEGAN_NS = 1_790_000_000_000_000_000
MS = 1_000_000


class SameIds(IdGenerator):
    """The same ids in each run, so that what two stores make of them can be compared."""

    def __init__(self):
        self.rng = random.Random(7)

    def generate_span_id(self):
        return self.rng.getrandbits(63) + 1

    def generate_trace_id(self):
        return self.rng.getrandbits(127) + 1


def tracer(url, processor):
    provider = TracerProvider(
        resource=Resource.create(
            {"service.name": "cellar", "service.instance.id": "one", "deployment": "blue"}
        ),
        id_generator=SameIds() if processor is SimpleSpanProcessor else None,
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(f"{url}/v1/traces", headers={"x-mlflow-experiment-id": "0"})
    provider.add_span_processor(processor(exporter))
    return provider, provider.get_tracer("cellar", "1.0")


def one_by_one(url):
    """Each span is sent when it ends: children before their parents, the root last."""
    provider, made = tracer(url, SimpleSpanProcessor)
    root = made.start_span("request", start_time=BEGAN_NS, attributes={"session.id": "s-1"})
    above = trace.set_span_in_context(root)
    for number in range(3):
        child = made.start_span(f"chat {number}", above, start_time=BEGAN_NS + number * MS)
        child.set_attributes(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "press",
                "gen_ai.usage.input_tokens": 10 + number,
                "gen_ai.usage.output_tokens": 5,
                "grapes": ["red", "white"],
                "sugar": 0.5,
                "пиво": "нет",
            }
        )
        child.add_event("pressed", {"bar": number}, timestamp=BEGAN_NS + number * MS + 1)
        child.end(BEGAN_NS + (number + 20) * MS)
    root.set_attribute("user.id", "taster")
    root.end(BEGAN_NS + 50 * MS)

    failed = made.start_span("failing", start_time=BEGAN_NS + MS)
    failed.set_status(trace.StatusCode.ERROR, "corked")
    failed.end(BEGAN_NS + 3 * MS)
    provider.shutdown()


def in_batches(url):
    """Threads at once, each with a trace of its own, in whatever batches come of it."""
    provider, made = tracer(url, BatchSpanProcessor)

    def work(number):
        with made.start_as_current_span("thread") as span:
            span.set_attribute("number", number)
            with made.start_as_current_span("inner"):
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    provider.shutdown()


one_by_one(sys.argv[1])
in_batches(sys.argv[1])
print(json.dumps("sent"))
