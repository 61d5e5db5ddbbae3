"""The fold: rules, replay, and the ledger of one machine."""
