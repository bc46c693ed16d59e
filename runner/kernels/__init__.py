"""Numba functions with contracts: hash, order, dictionary map, checked arithmetic, string pool; nothing of folds."""
