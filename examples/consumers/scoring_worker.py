"""Score a stream of rows with the champion, and change over while the stream goes on.

    MLFLOW_TRACKING_URI=ledger+kafka://host:9092/team python scoring_worker.py \
        --servers host:9092 --ledger team --model models:/wine@champion --rows rows --scores scores

Rows are JSON objects, scores say which version gave them. A thread follows the ledger's catalog:
when the alias is set to another version, it loads that one, and from the next row on it scores.
It loads the number that the log gave to the alias, `models:/wine/2`, and not the alias anew, so
that what a score says of its version is true whatever happens meanwhile.

Input offsets are committed when the scores are acknowledged: every row is scored at least once.
Workers of one `--group` share the partitions of the rows.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pandas as pd
from catalog import Catalog
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import CommitFailedError
from registry import TYPES, Registry

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

MOST_ROWS = 100
PAUSE_S = 1.0
KILLED_AFTER_MS = 6000
"""Others take over the rows of a worker that was silent for so long."""


class Champion:
    """The model that an alias names now."""

    def __init__(self, name: str, alias: str, stop: threading.Event) -> None:
        """Have none yet."""
        self._name = name
        self._alias = alias
        self._stop = stop
        self.now: tuple[int, PyFuncModel] | None = None
        """Version and model; replaced as one."""

    def follow(self, catalog: Catalog) -> None:
        """Keep up with the alias until told to stop; the body of a thread."""
        registry = Registry()
        while not self._stop.is_set():
            for event in catalog.poll(timeout_s=PAUSE_S):
                registry.apply(event)
            version = registry.champion(self._name, self._alias)
            if version is not None and catalog.is_read():  # no champion of the past is loaded
                self._change_to(version)
        catalog.close()

    def _change_to(self, version: int) -> None:
        if self.now is not None and self.now[0] == version:
            return
        uri = f"models:/{self._name}/{version}"
        try:
            self.now = version, mlflow.pyfunc.load_model(uri)
        except Exception as error:  # noqa: BLE001  # whatever a model or a store may raise
            _say(f"{uri} cannot be loaded, the one before stays: {error}")
        else:
            _say(f"{uri} scores from now on")


class Scorer:
    """Takes rows from one topic and puts scores into another."""

    def __init__(self, servers: str, rows: str, scores: str, group: str) -> None:
        """Connect; ``group`` remembers which rows are done."""
        self._scores = scores
        self._consumer = KafkaConsumer(
            rows,
            bootstrap_servers=servers.split(","),
            group_id=group,
            session_timeout_ms=KILLED_AFTER_MS,
            heartbeat_interval_ms=KILLED_AFTER_MS // 3,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            isolation_level="read_committed",
        )
        self._producer = KafkaProducer(
            bootstrap_servers=servers.split(","),
            acks="all",
            enable_idempotence=True,
            allow_auto_create_topics=False,
        )

    def score_some(self, champion: Champion) -> None:
        """Score what comes within a second; it is done when the scores are acknowledged."""
        sent = []
        polled = self._consumer.poll(timeout_ms=1000, max_records=MOST_ROWS)
        for row in (row for rows in polled.values() for row in rows):
            assert champion.now is not None
            version, model = champion.now
            said = {
                "row": f"{row.topic}/{row.partition}/{row.offset}",
                "version": version,
                **score(model, row.value),
            }
            value = json.dumps(said).encode()
            sent.append(self._producer.send(self._scores, value=value, key=row.key))
        self._producer.flush()
        for future in sent:
            future.get()
        if sent:
            try:
                self._consumer.commit()
            except CommitFailedError as error:
                _say(f"another worker has taken over, and scores these rows again: {error}")

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self._consumer.close()
        self._producer.close()


def score(model: PyFuncModel, row: bytes | None) -> dict[str, Any]:
    """Give the prediction for a row, or say why there is none: one bad row stops nothing."""
    try:
        found = model.predict(pd.DataFrame([json.loads(row or b"")]))
    except Exception as error:  # noqa: BLE001  # it is answered, and whoever sent it sees it
        return {"error": f"{type(error).__name__}: {error}"}
    if isinstance(found, pd.DataFrame):
        return {"prediction": found.to_dict("records")[0]}
    return {"prediction": np.asarray(found).tolist()[0]}


def main() -> None:
    """Score until SIGTERM or Ctrl-C; rows that were begun are finished."""
    parser = argparse.ArgumentParser(description="Score a stream of rows with the champion.")
    parser.add_argument("--servers", required=True, help="host:port, with commas between")
    parser.add_argument("--ledger", required=True, help="the ledger's name")
    parser.add_argument("--model", required=True, help="such as models:/wine@champion")
    parser.add_argument("--rows", required=True, help="the topic to read")
    parser.add_argument("--scores", required=True, help="the topic to write")
    parser.add_argument("--group", default="scoring")
    parser.add_argument("--document", type=Path, default=Path("asyncapi.json"))
    args = parser.parse_args()
    named = re.fullmatch(r"models:/([^/@]+)@([^/@]+)", args.model)
    if named is None:
        parser.error(f"{args.model} is no models:/name@alias")

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    champion = Champion(*named.groups(), stop)
    catalog = Catalog(args.servers, args.ledger, args.document, TYPES)
    scorer = Scorer(args.servers, args.rows, args.scores, args.group)
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(champion.follow, catalog)
        try:
            while not stop.is_set() and not following.done():
                if champion.now is None:
                    stop.wait(0.1)  # there is no champion yet
                else:
                    scorer.score_some(champion)
        finally:
            stop.set()
            scorer.close()
        following.result()  # what ended the thread ends the program


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
