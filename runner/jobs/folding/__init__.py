"""Folds over the log: what is prepared, what a worker does, the pass over all partitions, a fold aside, a catch-up."""
