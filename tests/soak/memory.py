"""What processes take while they run, and what a ledger's folder does."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

__all__ = ["Sample", "Samples", "disk_bytes", "open_files", "sample"]


class Sample(NamedTuple):
    """One look at a process, or what is typical of several.

    ``rss`` is its resident memory in bytes (``VmRSS``: all of it, pages of libraries too), ``own``
    the part that no file stands behind (``RssAnon``), ``files`` how many descriptors are open.
    """

    rss: int
    own: int
    files: int


class Samples:
    """Looks at processes, by name and by tenth of the day."""

    def __init__(self) -> None:
        self._found: dict[str, dict[int, list[Sample]]] = defaultdict(lambda: defaultdict(list))

    def add(self, name: str, tenth: int, found: Sample) -> None:
        """Keep one look."""
        self._found[name][tenth].append(found)

    def typical(self) -> dict[str, dict[int, Sample]]:
        """The medians of each tenth."""
        return self._of(statistics.median_high)

    def peaks(self) -> dict[str, dict[int, Sample]]:
        """The most in each tenth."""
        return self._of(max)

    def _of(self, measure: object) -> dict[str, dict[int, Sample]]:
        assert callable(measure)
        return {
            name: {
                tenth: Sample(*(measure(values) for values in zip(*looks, strict=True)))
                for tenth, looks in sorted(tenths.items())
            }
            for name, tenths in self._found.items()
        }


def sample(pid: int) -> Sample:
    """Look at a process now."""
    fields = _status(pid)
    return Sample(
        rss=_kib(fields["VmRSS"]),
        own=_kib(fields["RssAnon"]),
        files=len(os.listdir(f"/proc/{pid}/fd")),  # noqa: PTH208  # names only
    )


def open_files(pid: int) -> Counter[str]:
    """The names of the files that a process has open now."""
    found: Counter[str] = Counter()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[link.readlink().name] += 1
        except FileNotFoundError:  # closed since
            continue
    return found


def _status(pid: int) -> Mapping[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return dict(line.split(":", 1) for line in lines)


def _kib(field: str) -> int:
    return int(field.split(maxsplit=1)[0]) * 1024


def disk_bytes(folder: Path) -> int:
    """What ``du`` says that a folder takes."""
    done = subprocess.run(["du", "-s", "-B1", folder], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[0])
