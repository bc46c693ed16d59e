"""Charts as SVG inside a page: a few shapes with axes, ticks and units, that need nothing from anywhere.

Colours are classes of the page's style (``STYLE``), so that charts follow a dark page. Every text is escaped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["STYLE", "Series", "bars", "stacked", "xy"]

STYLE = """
svg { width: 100%; height: auto; max-width: 46rem; display: block; margin: .5rem 0 1.5rem }
svg text { font: 12px system-ui, sans-serif; fill: #57606a }
svg .title { font-size: 13px; font-weight: 600; fill: #1b1f24 }
svg .grid { stroke: #d8dee4; stroke-width: 1 } svg .axis { stroke: #8c959f; stroke-width: 1 }
svg .s0 { --c: #1f6feb } svg .s1 { --c: #bf5b04 } svg .s2 { --c: #1a7f37 } svg .s3 { --c: #8250df }
svg .line { fill: none; stroke: var(--c); stroke-width: 2 } svg .dashed { stroke-dasharray: 5 4 }
svg .dot, svg .bar { fill: var(--c) } svg .range { stroke: var(--c); stroke-width: 2 }
svg .inside { fill: #fff }
@media (prefers-color-scheme: dark) {
  svg text { fill: #8d96a0 } svg .title { fill: #e6edf3 } svg .grid { stroke: #30363d } }
"""

WIDTH, HEIGHT = 720, 320
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 52, 46
TICKS = 5


@dataclass(frozen=True)
class Series:
    """One set of points (x, y), ascending by x. ranges: (low, high) of y for each point."""

    label: str
    points: tuple[tuple[float, float], ...]
    shape: Literal["dots", "line", "dashed"] = "line"
    ranges: tuple[tuple[float, float], ...] = ()


def xy(title: str, x_label: str, y_label: str, series: Sequence[Series], *, ticks: Sequence[float] = ()) -> str:
    """Points and lines, both axes from 0. ticks: where the x axis has its marks; round numbers without."""
    x_most = max(x for s in series for x, _ in s.points)
    y_most = max(max(y for s in series for _, y in s.points), *(high for s in series for _, high in s.ranges), 0.0)
    frame = _Frame(x_most * 1.04 or 1.0, y_most * 1.08 or 1.0)
    parts = [frame.axes(title, x_label, y_label, ticks or _rounds(frame.x_most), _rounds(frame.y_most))]
    parts.append(_legend([s.label for s in series]))
    for n, one in enumerate(series):
        places = [(frame.x(x), frame.y(y)) for x, y in one.points]
        if one.shape != "dots":
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            dashed = " dashed" if one.shape == "dashed" else ""
            parts.append(f'<polyline class="s{n} line{dashed}" points="{path}"/>')
            continue
        for (x, _), (low, high) in zip(places, one.ranges, strict=False):
            parts.append(
                f'<line class="s{n} range" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.y(low):.1f}" y2="{frame.y(high):.1f}"/>'
            )
        parts += [f'<circle class="s{n} dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in places]
    return _svg(title, HEIGHT, parts)


def bars(
    title: str, x_label: str, y_label: str, values: Sequence[float], *, mark: tuple[str, float] | None = None
) -> str:
    """One bar a value, in the order given. mark: a level with its name."""
    frame = _Frame(float(len(values)), max(*values, mark[1] if mark else 0.0, 1e-9) * 1.08)
    parts = [frame.axes(title, x_label, y_label, (), _rounds(frame.y_most))]
    gap = 0.15 if len(values) <= 200 else 0.0
    for n, value in enumerate(values):
        x, y = frame.x(n + gap / 2), frame.y(value)
        parts.append(
            f'<rect class="s0 bar" x="{x:.1f}" y="{y:.1f}" width="{frame.x(n + 1 - gap / 2) - x:.2f}" '
            f'height="{frame.y(0) - y:.1f}"/>'
        )
    if mark is not None:
        y = frame.y(mark[1])
        parts.append(f'<line class="s1 line dashed" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT}" y="{y - 5:.1f}" text-anchor="end">{escape(mark[0])}</text>')
    return _svg(title, HEIGHT, parts)


def stacked(title: str, unit: str, rows: Sequence[tuple[str, Sequence[tuple[str, float]]]]) -> str:
    """One horizontal bar a row, of parts (name, value) that have the same names in each."""
    names = list(dict.fromkeys(name for _, parts in rows for name, _ in parts))
    most = max(sum(value for _, value in parts) for _, parts in rows) or 1.0
    left, row = 150, 38
    height = TOP + row * len(rows) + BOTTOM
    wide = WIDTH - left - RIGHT
    ticks = _rounds(most)
    drawn = [f'<text class="title" x="0" y="16">{escape(title)}</text>', _legend(names)]
    for tick in ticks:
        x = left + tick / most * wide
        drawn.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        drawn.append(f'<text x="{x:.1f}" y="{height - BOTTOM + 16}" text-anchor="middle">{_number(tick)}</text>')
    drawn.append(f'<text x="{left + wide / 2:.0f}" y="{height - 8}" text-anchor="middle">{escape(unit)}</text>')
    for n, (label, parts) in enumerate(rows):
        y, x = TOP + n * row + 6, float(left)
        drawn.append(f'<text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(label)}</text>')
        for name, value in parts:
            length = value / most * wide
            drawn.append(
                f'<rect class="s{names.index(name)} bar" x="{x:.1f}" y="{y}" width="{length:.2f}" height="26">'
                f"<title>{escape(name)}: {_number(value)}</title></rect>"
            )
            if length > 46:
                drawn.append(f'<text class="inside" x="{x + 6:.1f}" y="{y + 17}">{_number(value)}</text>')
            x += length
    return _svg(title, height, drawn)


@dataclass(frozen=True)
class _Frame:
    """The area of the values: x from 0 to x_most, y from 0 to y_most."""

    x_most: float
    y_most: float

    def x(self, value: float) -> float:
        return LEFT + value / self.x_most * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - value / self.y_most * (HEIGHT - TOP - BOTTOM)

    def axes(self, title: str, x_label: str, y_label: str, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> str:
        parts = [f'<text class="title" x="0" y="16">{escape(title)}</text>']
        for tick in y_ticks:
            y = self.y(tick)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
        parts += [
            f'<text x="{self.x(tick):.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{_number(tick)}</text>'
            for tick in x_ticks
        ]
        base = self.y(0)
        parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base:.1f}" y2="{base:.1f}"/>')
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>'
        )
        turned = f'text-anchor="middle" transform="rotate(-90 14 {middle})"'
        parts.append(f'<text x="14" y="{middle}" {turned}>{escape(y_label)}</text>')
        return "".join(parts)


def _legend(labels: Sequence[str]) -> str:
    parts, x = [], float(LEFT)
    for n, label in enumerate(labels):
        parts.append(f'<rect class="s{n} bar" x="{x:.0f}" y="27" width="10" height="10" rx="2"/>')
        parts.append(f'<text x="{x + 15:.0f}" y="36">{escape(label)}</text>')
        x += 15 + 7 * len(label) + 18
    return "".join(parts)


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _rounds(most: float) -> list[float]:
    """Round numbers from 0 up to ``most``, about TICKS of them."""
    if most <= 0:
        return [0.0]
    power = 10.0 ** math.floor(math.log10(most / TICKS))
    step = next(power * m for m in (1, 2, 5, 10) if most / (power * m) <= TICKS)
    return [step * n for n in range(int(most / step + 1e-9) + 1)]


def _number(value: float) -> str:
    """Three digits that count, no more zeros than are needed."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
