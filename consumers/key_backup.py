"""The keys of an erasable ledger in a backup: without them nothing of it could be read."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, NamedTuple

from mlflow_ledger.schemas import ArtifactError, BlobMissing

from .object_place import ObjectPlace

if TYPE_CHECKING:
    from mlflow_ledger.bus import KeyFile, Keyring
    from mlflow_ledger.bus.key_file import SubjectKey

__all__ = ["BackedKeys", "get_keys", "put_keys"]


class BackedKeys(NamedTuple):
    """The keys in a backup, and how many had been lost when they were put there."""

    keys: list[SubjectKey]
    lost: int

    def keyring(self) -> Keyring:
        """What opens with these keys."""
        from mlflow_ledger.bus import KeyFile, Keyring  # ciphers take their time to be imported

        file = KeyFile(None)
        file.take(self.keys, {}, 0)
        return Keyring(file)


def put_keys(objects: ObjectPlace, ledger_id: str, file: KeyFile) -> int:
    """Replace the keys in a backup by those that are there now; how many are lost by now."""
    lost = file.count_lost()
    keys = [[key.key_id, key.subject, base64.b64encode(key.key).decode()] for key in file.all()]
    objects.put(_key(ledger_id), json.dumps({"lost": lost, "keys": keys}).encode())
    return lost


def get_keys(objects: ObjectPlace, ledger_id: str) -> BackedKeys | None:
    """The keys in a backup; None where its ledger has none.

    Raises:
        ArtifactError: they cannot be read.
    """
    from mlflow_ledger.bus.key_file import SubjectKey

    try:
        said = json.loads(objects.get(_key(ledger_id)))
        keys = [SubjectKey(i, subject, base64.b64decode(key)) for i, subject, key in said["keys"]]
        return BackedKeys(keys, int(said["lost"]))
    except BlobMissing:
        return None
    except (ValueError, TypeError, KeyError) as error:
        msg = f"{_key(ledger_id)} in {objects} holds no keys: {error}"
        raise ArtifactError(msg) from error


def _key(ledger_id: str) -> str:
    return f"keys/{ledger_id}.json"
