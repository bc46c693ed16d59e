"""Numba functions with contracts: hash, order, dictionary map, checked arithmetic, string pool. They know nothing of folds."""
