"""Bench: a log and its projections measured, the model of that, what limits them, and an earlier report beside it."""
