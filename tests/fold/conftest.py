"""Puts the fold tests' own modules on the path: ``fold_models`` (classes) and ``fold_cases`` (histories, comparing)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
