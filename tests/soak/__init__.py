"""Long runs that a ledger has to stand: ``python -m tests.soak kills`` and ``... day``."""
