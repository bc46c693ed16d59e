"""What may never be written anywhere: every secret that this process has used, and texts cleared of them.

Known only in memory; nothing of it is pickled or written. Errors are cleared where they are made, and once more where
they are shown or recorded.
"""

from __future__ import annotations

import re
import threading
from urllib.parse import quote, quote_plus

__all__ = ["HIDDEN", "cleared", "keep_secret"]

HIDDEN = "***"

_lock = threading.Lock()
_secrets: set[str] = set()
# To the last @: a password may hold others, left as they are.
_IN_URL = re.compile(r"(://[^\s/@:]*:)\S*(?=@)")
_KEYWORD = re.compile(r"""\b((?:ssl)?password)(\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s'&;,]+)""", re.IGNORECASE)


def keep_secret(*secrets: str) -> None:
    """Note texts that no error may repeat."""
    with _lock:
        _secrets.update(secret for secret in secrets if secret)


def cleared(text: str) -> str:
    """The text without any secret that this process knows, and without what looks like one."""
    with _lock:
        known = sorted(_secrets, key=len, reverse=True)
    for secret in known:
        for form in _forms(secret):
            if len(form) >= 4:
                text = text.replace(form, HIDDEN)
            else:
                # A password of three letters would blank parts of words; standing alone it is one.
                text = re.sub(rf"(?<![\w]){re.escape(form)}(?![\w])", HIDDEN, text)
    text = _IN_URL.sub(rf"\1{HIDDEN}", text)
    return _KEYWORD.sub(rf"\1\2{HIDDEN}", text)


def _forms(secret: str) -> list[str]:
    """A secret as it is, and as URLs, SQL, libpq, Python and JSON write it."""
    backslashed = secret.replace("\\", "\\\\")
    forms = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        secret.replace("'", "''"),
        backslashed,
        backslashed.replace("'", "\\'"),
        backslashed.replace('"', '\\"'),
        secret.replace('"', '""'),
        repr(secret)[1:-1],
        secret.encode("unicode_escape").decode("ascii"),
    }
    return sorted((form for form in forms if form), key=len, reverse=True)
