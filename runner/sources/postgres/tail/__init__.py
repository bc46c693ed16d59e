"""Which rows of a live store are settled: nothing can still appear at or below them. The field's best-known bug is to
read ``position > last`` and pass by what was drawn earlier and committed later.

``port`` says what a rule is to the reader, ``choose`` makes one; each rule's module opens with its proof.
``durability`` and ``identity`` are for rows that were read and are gone.
"""

from __future__ import annotations

from runner.sources.postgres.tail.port import (
    Holder,
    Known,
    Relation,
    Settled,
    Span,
    StorePlace,
    Tail,
    TailConfig,
    Unread,
)

__all__ = ["Holder", "Known", "Relation", "Settled", "Span", "StorePlace", "Tail", "TailConfig", "Unread"]
