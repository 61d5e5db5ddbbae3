"""Searches again and again until told to end; what was found once is found ever after."""

import sys
import threading

from mlflow import MlflowClient

client = MlflowClient()
end = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), end.set()), daemon=True).start()
searches = before = 0
while not end.is_set() or searches < 10:
    runs = client.search_runs(["0"], "tags.writer != ''", order_by=["metrics.number DESC"])
    found = sum(len(run.data.tags) + len(run.data.params) for run in runs)
    assert found >= before, (found, before)
    before = found
    searches += 1
print(searches)
