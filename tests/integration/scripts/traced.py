"""Traces functions: plain, async, in threads, failing, in a run; prints what is found of them."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import mlflow

mlflow.set_experiment("traced")


@mlflow.trace(span_type="CHAIN")
def outer(number: int) -> int:
    with mlflow.start_span("inner") as span:
        span.set_attribute(
            "mlflow.chat.tokenUsage", {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
        )
        mlflow.update_current_trace(tags={"colour": "red"})
    return number + 1


@mlflow.trace
async def waiting(number: int) -> int:
    await asyncio.sleep(0.01)
    return outer(number)


@mlflow.trace
def failing() -> None:
    raise ValueError("no")


def found(**asked: Any) -> list[Any]:
    return list(mlflow.search_traces(return_type="list", **asked))


@mlflow.trace(name="part", span_type="TOOL")
def part(number: int) -> int:
    if number == 2:
        raise ValueError("no second part")
    return number


@mlflow.trace
def counted(most: int) -> Iterator[int]:
    yield from range(most)


@mlflow.trace(name="gathered")
async def gathered() -> list[Any]:
    """One trace of tasks, threads and a generator, some of whose parts fail."""
    found = await asyncio.gather(waiting(1), waiting(2), return_exceptions=True)
    with ThreadPoolExecutor(3) as pool:
        told = [pool.submit(contextvars.copy_context().run, part, number) for number in range(4)]
    failed = [str(one.exception()) for one in told if one.exception()]
    return [*found, failed, list(counted(3))]


outer(1)
asyncio.run(waiting(2))
asyncio.run(gathered())
with contextlib.suppress(ValueError):
    failing()
threads = [threading.Thread(target=outer, args=(number,)) for number in range(5)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with mlflow.start_run() as run:
    outer(7)
mlflow.flush_trace_async_logging()

[whole] = found(filter_string="trace.name = 'gathered'")
names = {span.span_id: span.name for span in whole.data.spans}
latest = mlflow.get_trace(found()[0].info.trace_id)
mlflow.log_feedback(trace_id=latest.info.trace_id, name="good", value=True)
print(
    json.dumps(
        {
            "states": sorted(trace.info.state.value for trace in found()),
            "spans": sorted(len(trace.data.spans) for trace in found()),
            "latest": [span.name for span in latest.data.spans],
            "gathered": sorted(
                [names.get(span.parent_id, ""), span.name, span.status.status_code.value]
                for span in whole.data.spans
            ),
            "events": sorted(
                [span.name, event.attributes.get("exception.message", event.name)]
                for span in whole.data.spans
                for event in span.events
            ),
            "answer": whole.data.response,
            "colour": latest.info.tags["colour"],
            "tokens": latest.info.token_usage["total_tokens"],
            "of_run": len(found(run_id=run.info.run_id)),
            "failed": len(found(filter_string="trace.status = 'ERROR'")),
            "assessed": len(found(filter_string="feedback.good = 'true'")),
            "rows": len(mlflow.search_traces()),
        }
    )
)
