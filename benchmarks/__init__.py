"""How fast the ledger is, held against MLflow's own stores in one run: ``make bench``."""
