"""What the ledger promises, shown on real files and real processes."""
