"""Numba functions with contracts: hash, order, dictionary map, checked arithmetic, string pool; nothing of folds."""

from runner.kernels.machine_code import keep_by_surroundings

# Before any module of the package declares a function that is kept on disk.
keep_by_surroundings()
