"""Runs: sync, rebuild, update, prove, explain, rollback, and the ledger that remembers them."""
