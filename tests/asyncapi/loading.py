"""The modules of examples/consumers, which are no package."""

from __future__ import annotations

import functools
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

__all__ = ["CONSUMERS", "DOCUMENT_PATH", "example"]

ROOT = Path(__file__).parents[2]
CONSUMERS = ROOT / "examples/consumers"
DOCUMENT_PATH = ROOT / "docs/asyncapi.json"


@functools.cache
def example(name: str) -> Any:
    """A module that imports none of its neighbours."""
    spec = spec_from_file_location(f"example_{name}", CONSUMERS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look their names up
    spec.loader.exec_module(module)
    return module
