"""Author's modules written to files and imported, since definitions read their source."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from itertools import count
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from modules_in_files import module_in_file

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
from __future__ import annotations

import enum
import math
import os
import random
import time
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from runner import Event, Projection, Record, Scale, buckets, field, key, last, on


class Paid(Event):
    amount: int
    currency: str = ""


class Line(Record):
    sku: str
    quantity: int


class Ordered(Event):
    lines: list[Line]
    tags: list[str] = []
    rate: float = 0.0


"""
HEAD_LINES = HEAD.count("\n")
"""Line n of a module's own text is line HEAD_LINES + n of its file."""

Author = Callable[[str], ModuleType]


@pytest.fixture
def author(tmp_path: Path) -> Iterator[Author]:
    """Import a module of an author: the text behind HEAD."""
    made: list[str] = []
    numbers = count()

    def load(text: str) -> ModuleType:
        name = f"authored_{tmp_path.name.replace('-', '_')}_{next(numbers)}"
        made.append(name)
        return module_in_file(HEAD + textwrap.dedent(text), tmp_path, name)

    yield load
    for name in made:
        sys.modules.pop(name, None)
