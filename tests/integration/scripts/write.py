"""Writes to runs without a pause, and says after each call what is acknowledged by now."""

import os
import sys
import time

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

name, runs, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = MlflowClient()
run_ids = [
    client.create_run("0", tags={"writer": name}, run_name=f"{name}-{number}").info.run_id
    for number in range(runs)
]
for number in range(rounds):
    run_id = run_ids[number % runs]
    if number % 3:
        client.set_tag(run_id, "last", f"{number}")
        client.set_tag(run_id, f"{name}-{number}", "there")
    else:
        client.log_batch(
            run_id,
            metrics=[Metric("number", number, time.time_ns() // 1_000_000, number)],
            params=[Param(f"p{number}", "x")],
            tags=[RunTag("last", f"{number}"), RunTag(f"{name}-{number}", "there")],
        )
    os.write(1, f"{number} {run_id}\n".encode())
