"""A host's copy of a log that stands elsewhere: the same events, in one sequence."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from mlflow_ledger.schemas import LogUnavailable

from .failpoint import reach
from .inode import inode_of
from .log import Outgoing, Stored
from .mirror_file import MirrorDamaged, MirrorFailures, mirror_damaged
from .position import EMBEDDED, Partition, Position, position_text
from .sharing import BESIDE
from .sqlite import SqliteLog, Synchronous
from .sqlite_rows import INSERT, Fetch

__all__ = ["MirrorLog", "Mirrored"]


class Mirrored(NamedTuple):
    """How far a partition was copied: where to read on, and the last record that was copied."""

    next_offset: int
    last_offset: int | None
    digest: bytes | None


class MirrorLog(SqliteLog):
    """The events of a ledger's topics, in the order in which this host has come to know them.

    Each partition keeps its order; how partitions interleave differs from host to host, and no
    verdict depends on it. Offsets of the mirror are local: outside this host an event is named by
    its partition and offset there (:meth:`origin`), or by its source and id.
    """

    def __init__(
        self,
        path: Path,
        partitions: Mapping[str, int],
        synchronous: Synchronous = "normal",
        make_folder: Callable[[], None] | None = None,
    ) -> None:
        """Use the mirror at ``path`` of topics with so many partitions each."""
        super().__init__(path, synchronous, make_folder=make_folder)
        self.failures = MirrorFailures(path)
        self._counts = dict(partitions)
        self._written = 0
        self._run: tuple[int, int, Partition, int] = (0, 0, EMBEDDED, 0)

    @classmethod
    def begin(cls, path: Path, ledger_id: str, facts: Mapping[str, str]) -> None:
        """Make an empty mirror; ``facts`` tell the topics it copies from any others.

        Call it under the lock, and only where there is none.
        """
        for suffix in BESIDE:  # of a file that was removed alone
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        script = files(__package__).joinpath("mirror.sql").read_text("utf-8")

        def complete(db: sqlite3.Connection) -> None:
            db.executescript(script)
            db.executemany("INSERT INTO meta VALUES (?, ?)", sorted(facts.items()))

        cls.create(path, ledger_id, complete)

    def mark(self) -> int:
        """What changes whenever the mirror is begun anew, 0 where there is none."""
        return inode_of(self._path_text)

    def connection(self) -> sqlite3.Connection:
        """The connection that writes, to the file that is now there; use it under the lock."""
        if self._connection is not None and self._written != self.mark():
            self._connection.close()
            self._connection = None
            self._dictionary.forget()
        if self._connection is None:
            self._written = self.mark()
            super().connection()
        assert self._connection is not None
        return self._connection

    def ask(self, sql: str, *values: object, fetch: Fetch = sqlite3.Cursor.fetchall) -> list[Any]:
        """Read what is committed now in the file that is now there."""
        if self.replaced():
            with self._reading:
                self._close_reader()
                self._run = (0, 0, EMBEDDED, 0)
        return super().ask(sql, *values, fetch=fetch)

    def damaged(self, what: str) -> MirrorDamaged:
        """The error to raise where the mirror is not what was copied."""
        return mirror_damaged(self.path, what)

    def facts(self) -> dict[str, str]:
        """What was said of the copied topics when the mirror began."""
        return dict(self.ask("SELECT key, value FROM meta WHERE key != 'ledger_id'"))

    def partitions(self) -> Mapping[str, int]:
        """How many partitions each topic has where the log stands."""
        return self._counts

    def append(self, records: Sequence[Outgoing]) -> list[Stored]:
        """Refuse: what is appended here would stand nowhere else."""
        msg = f"{self.path} mirrors a log that stands elsewhere; append to that one"
        raise LogUnavailable(msg)

    def mirrored(self) -> dict[Partition, Mirrored]:
        """How far each partition was copied."""
        rows = self.ask(_MIRRORED)
        return {(topic, number): Mirrored(*rest) for topic, number, *rest in rows}

    def position(self) -> Position:
        """Where to read on in the topics."""
        rows = self.ask("SELECT topic, partition, next_offset FROM mirrored")
        return Position(self.ledger_id, {(topic, number): at for topic, number, at in rows})

    def take(self, records: Iterable[Stored], reached: Position) -> int:
        """Copy records, each partition in its order, and the position behind them.

        What another process of this host has copied meanwhile is left out. Returns how many were
        new.
        """
        with self.lock, self.transaction() as appending, self.failures:
            db = self.connection()
            known = self._known(db)
            fresh = [
                stored
                for stored in records
                if stored.partition not in known
                or stored.offset >= known[stored.partition].next_offset
            ]
            self._insert(db, fresh, appending.last_offset + 1)
            last = {stored.partition: stored for stored in fresh}
            for partition, following in reached.offsets.items():
                entry = known.get(partition, _NOTHING)
                if following > entry.next_offset:
                    _save(db, partition, following, last.get(partition), entry)
            reach("mirror.written")
        return len(fresh)

    def copy_to(self, target: Path) -> tuple[Position, int]:
        """Copy the mirror, as it is at one moment, to a file of its own.

        Returns where the copy stands in the topics, and how many events it holds. Whoever writes
        does not wait for it.
        """
        with self.failures:
            source = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
            copy = sqlite3.connect(target, isolation_level=None)
            try:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
                offsets = {partition: m.next_offset for partition, m in self._known(copy).items()}
                (events,) = copy.execute("SELECT count(*) FROM events").fetchone()
            finally:
                copy.close()
                source.close()
        return Position(self.ledger_id, offsets), int(events)

    def _insert(self, db: sqlite3.Connection, records: Sequence[Stored], first: int) -> None:
        expected: tuple[Partition, int] | None = None
        rows, origins = [], []
        for seq, stored in enumerate(records, first):
            if (stored.partition, stored.offset) != expected:
                origins.append((seq, *stored.partition, stored.offset))
            expected = stored.partition, stored.offset + 1
            rows.append(self._dictionary.row(db, seq, stored.append_ms, stored.record))
        db.executemany(INSERT, rows)
        db.executemany("INSERT INTO origins VALUES (?, ?, ?, ?)", origins)

    @staticmethod
    def _known(db: sqlite3.Connection) -> dict[Partition, Mirrored]:
        rows = db.execute(_MIRRORED)
        return {(topic, number): Mirrored(*rest) for topic, number, *rest in rows}

    def origin(self, seq: int) -> tuple[Partition, int]:
        """Where an event stands in the topics: partition and offset.

        Raises:
            LogDamaged: the mirror does not know.
        """
        first, behind, partition, offset = self._run
        if not first <= seq < behind:
            first, behind, partition, offset = self._run = self._run_of(seq)
        return partition, offset + seq - first

    def stream(self, stored: Stored) -> Partition:
        """The partition whose order a record keeps."""
        return self.origin(stored.offset)[0]

    def stretches(self) -> Iterator[tuple[Partition, int, int]]:
        """Events of one partition that stand one behind the other: the first, the one behind."""
        last = self.last_offset()
        rows = self.ask("SELECT first_seq, topic, partition FROM origins ORDER BY first_seq")
        ends = [*(first for first, _, _ in rows[1:]), last + 1]
        for (first, topic, number), behind in zip(rows, ends, strict=False):
            if first <= last:
                yield (topic, number), first, min(behind, last + 1)

    def place(self, stored: Stored) -> str:
        """The position of a record in its topic, which names it on every host."""
        return position_text(self.ledger_id, *self.origin(stored.offset))

    def position_behind(self, offset: int) -> str:
        """The position in its partition behind a record, in text."""
        partition, there = self.origin(offset)
        return position_text(self.ledger_id, partition, there + 1)

    def reached(self, offset: int) -> Position:
        """The position in the topics of who has read all before an offset."""
        ends: dict[Partition, int] = {}
        for partition, first, behind in self.stretches():
            if first < offset:
                ends[partition] = self.origin(min(behind, offset) - 1)[1] + 1
        return Position(self.ledger_id, ends)

    def sync(self) -> None:
        """Nothing: it is a copy, and the brokers have what it has."""

    def local(self, position: Position) -> Position:
        """Where to begin reading here, to find all that stands behind a position in the topics.

        Partitions that it does not name do not count, so that an event's own position leads to
        that event.
        """
        if not position.offsets:
            return self.start()
        first = [
            seq
            for (topic, number), offset in position.offsets.items()
            if (seq := self._seq_of(topic, number, offset)) is not None
        ]
        return Position(self.ledger_id, {EMBEDDED: min(first, default=self.last_offset() + 1)})

    def first_of(self, partition: Partition, offset: int) -> int:
        """Where in this file the first event of a partition is that stands there or behind."""
        found = self._seq_of(*partition, offset)
        return self.last_offset() + 1 if found is None else found

    def times(self) -> tuple[int, int] | None:
        """When the first and the last event were appended, in milliseconds since 1970."""
        ((first, last),) = self.ask("SELECT min(append_ms), max(append_ms) FROM events")
        return None if first is None else (first, last)

    def _seq_of(self, topic: str, number: int, offset: int) -> int | None:
        """The first event of a partition that stands there or behind, None where there is none."""
        of_partition = "WHERE topic = ? AND partition = ?"
        runs = self.ask(
            f"SELECT first_seq, first_offset FROM origins {of_partition} AND first_offset <= ? "
            "ORDER BY first_offset DESC LIMIT 1",
            topic, number, offset,
        )  # fmt: skip
        for first_seq, first_offset in runs:
            seq = int(first_seq + offset - first_offset)
            if seq < self._run_of(first_seq)[1]:
                return seq
        later = self.ask(
            f"SELECT min(first_seq) FROM origins {of_partition} AND first_offset > ?",
            topic, number, offset,
        )  # fmt: skip
        return None if later[0][0] is None else int(later[0][0])

    def _run_of(self, seq: int) -> tuple[int, int, Partition, int]:
        """The run that an event stands in: its first seq, the one behind it, and whence it came."""
        rows = self.ask(
            "SELECT first_seq, topic, partition, first_offset FROM origins WHERE first_seq <= ? "
            "ORDER BY first_seq DESC LIMIT 1",
            seq,
        )
        if not rows:
            raise self.damaged(f"nothing is known of the origin of event {seq}")
        ((first, topic, number, offset),) = rows
        ((following,),) = self.ask("SELECT min(first_seq) FROM origins WHERE first_seq > ?", first)
        return first, following or self.last_offset() + 1, (topic, number), offset

    def runs(self) -> list[tuple[int, int, Partition, int]]:
        """The runs of events that stand one behind the other here and there, in order.

        Of each the first and last offset here, the partition, and its first offset there.
        """
        rows = self.ask(
            "SELECT first_seq, topic, partition, first_offset, lead(first_seq) OVER "
            "(ORDER BY first_seq) FROM origins ORDER BY first_seq"
        )
        ((last,),) = self.ask("SELECT max(seq) FROM events")
        return [
            (first, (following or last + 1) - 1, (topic, number), offset)
            for first, topic, number, offset, following in rows
        ]

    def since(self, seq: int, limit: int, but_of: str) -> list[tuple[str, str]]:
        """Type and subject of what stands behind ``seq``, but for what one voice has said."""
        return self.ask(
            "SELECT type, subject FROM events JOIN schemas USING (schema_no) "
            "JOIN sources USING (source_no) WHERE seq > ? AND source NOT GLOB ? "
            "ORDER BY seq LIMIT ?",
            seq, f"{but_of}/*", limit,
        )  # fmt: skip

    def position_at(self, time_ms: int) -> Position:
        """The position of the first event appended after this moment, in the mirror's sequence.

        Append times are the brokers', so that they grow along each partition only: behind this
        position there may be older events of other partitions.
        """
        rows = self.ask("SELECT min(seq) FROM events WHERE append_ms > ?", time_ms)
        return Position(self.ledger_id, {EMBEDDED: rows[0][0] or self.last_offset() + 1})


def _save(
    db: sqlite3.Connection,
    partition: Partition,
    following: int,
    last: Stored | None,
    before: Mirrored,
) -> None:
    rest = (last.offset, last.record.digest()) if last else before[1:]
    db.execute(
        "INSERT OR REPLACE INTO mirrored VALUES (?, ?, ?, ?, ?)", (*partition, following, *rest)
    )


_NOTHING = Mirrored(0, None, None)
_MIRRORED = "SELECT topic, partition, next_offset, last_offset, digest FROM mirrored"
