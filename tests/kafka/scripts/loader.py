"""Nested runs, and workers that are forked in the midst of logging, as a data loader's are."""

import json
import multiprocessing
import threading

import mlflow

FORK = multiprocessing.get_context("fork")


def work(run_id, number):
    client = mlflow.MlflowClient()
    for step in range(5):
        client.log_metric(run_id, f"worker{number}", float(step), step=step)


def log(stop, run_id, name, counts):
    client, step = mlflow.MlflowClient(), 0
    while not stop.is_set():
        client.log_metric(run_id, name, float(step), step=step)
        step += 1
    counts[name] = step


with mlflow.start_run(run_name="parent") as parent:
    stop, counts = threading.Event(), {}
    names = ["t0", "t1"]
    threads = [
        threading.Thread(target=log, args=(stop, parent.info.run_id, name, counts))
        for name in names
    ]
    for thread in threads:
        thread.start()
    children = []
    for number in range(3):
        mlflow.get_run(parent.info.run_id)
        with mlflow.start_run(run_name=f"child{number}", nested=True) as child:
            mlflow.log_metric("nested", number)
            worker = FORK.Process(target=work, args=(child.info.run_id, number))
            worker.start()
            worker.join()
            assert worker.exitcode == 0, worker.exitcode
            children.append(child.info.run_id)
    stop.set()
    for thread in threads:
        thread.join()
print(json.dumps({"parent": parent.info.run_id, "children": children, "counts": counts}))
