"""Traces functions: plain, async, in threads, failing, in a run; prints what is found of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
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


outer(1)
asyncio.run(waiting(2))
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

latest = mlflow.get_trace(found()[0].info.trace_id)
mlflow.log_feedback(trace_id=latest.info.trace_id, name="good", value=True)
print(
    json.dumps(
        {
            "states": sorted(trace.info.state.value for trace in found()),
            "spans": sorted(len(trace.data.spans) for trace in found()),
            "latest": [span.name for span in latest.data.spans],
            "colour": latest.info.tags["colour"],
            "tokens": latest.info.token_usage["total_tokens"],
            "of_run": len(found(run_id=run.info.run_id)),
            "failed": len(found(filter_string="trace.status = 'ERROR'")),
            "assessed": len(found(filter_string="feedback.good = 'true'")),
            "rows": len(mlflow.search_traces()),
        }
    )
)
