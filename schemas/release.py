"""Write today's Avro schemas: ``python -m mlflow_ledger.schemas.release FOLDER``.

FOLDER is the ``schemas/`` of a checkout. ``avsc/<Type>.avsc`` is rewritten; a schema whose
fingerprint is new is added to ``history/``, from where nothing is ever removed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from .avro import AvroSchema, avro_schema, fingerprint
from .event import event_types

__all__ = ["release", "text"]


def text(schema: AvroSchema) -> str:
    """A schema as it is checked in."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def release(folder: Path) -> list[Path]:
    """Write the schemas below ``folder``; returns the files that are new in the history."""
    added = []
    for part in ("avsc", "history"):
        (folder / part).mkdir(exist_ok=True)
    for name, event in event_types().items():
        schema = avro_schema(event)
        (folder / "avsc" / f"{name}.avsc").write_text(text(schema), "utf-8")
        kept = folder / "history" / f"{name}.{fingerprint(schema).hex()}.avsc"
        if not kept.exists():
            kept.write_text(text(schema), "utf-8")
            added.append(kept)
    return added


if __name__ == "__main__":
    for path in release(Path(sys.argv[1])):
        sys.stdout.write(f"added {path.name}\n")
