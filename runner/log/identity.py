"""Who an aggregate is: the hash of (source namespace, tenant, id), and the partition that follows from it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from runner.kernels.hash import UInt64s, hash_texts
from runner.log.arrival import SEPARATOR
from runner.positions import PartitionId

__all__ = ["identity_hash", "partition_of", "partitions_of"]


def identity_hash(namespace: str, tenant: str, aggregate_id: str) -> tuple[int, int]:
    """(hi, lo) of one aggregate's identity text."""
    hi, lo = hash_texts(pa.array([SEPARATOR.join((namespace, tenant, aggregate_id))]))
    return int(hi[0]), int(lo[0])


def partition_of(hi: int, partitions: int) -> PartitionId:
    """The top log2(P) bits."""
    return PartitionId(hi >> (64 - (partitions.bit_length() - 1)))


def partitions_of(hi: UInt64s, partitions: int) -> UInt64s:
    """The partition of each hash, uint64[n]."""
    if partitions == 1:
        return np.zeros(len(hi), np.uint64)
    return hi >> np.uint64(64 - (partitions.bit_length() - 1))
