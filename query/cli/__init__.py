"""The command ``mlflow-ledger``."""

from .program import main, program

__all__ = ["main", "program"]
