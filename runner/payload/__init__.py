"""JSON payload texts to typed columns.

``decode(texts, columns)`` reads every wanted column of many payloads at once; ``decode_plain`` is its slow, obvious
twin on Python's ``json``. Both raise ``BadValue`` for the first value that does not fit.
"""

from __future__ import annotations

from runner.payload.decode import decode
from runner.payload.plain import BadValue, decode_plain

__all__ = ["BadValue", "decode", "decode_plain"]
