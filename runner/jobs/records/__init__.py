"""The record of every run: the job ledger, who runs a job, and what a run tells while it works."""
