"""Curves of rates as SVG: small enough that no plotting library is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

COLOURS = ("#7a7a7a", "#1f77b4", "#2ca02c", "#bbbbbb", "#d62728", "#9467bd")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 420, 60, 150, 20, 50


def svg(labels: Sequence[str], curves: Mapping[str, Sequence[float]]) -> str:
    """A picture of rates from 0 to 1, one place on the x axis for each label.

    >>> svg(["1%", "10%"], {"LRU": [0.5, 0.9]}).startswith("<svg")
    True
    """
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect {size} fill="white"/>',
    ]
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{tenth * 10} %</text>')
    for place, label in enumerate(labels):
        x = _x(place, len(labels))
        y = HEIGHT - BOTTOM + 20
        parts.append(f'<text x="{x}" y="{y}" text-anchor="middle">{escape(label)}</text>')
    for number, (name, rates) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{_x(at, len(rates))},{_y(rate)}" for at, rate in enumerate(rates))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        y = TOP + 16 * (number + 1)
        x = WIDTH - RIGHT + 16
        parts.append(f'<path d="M{x} {y - 4}h20" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 26}" y="{y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(place: int, places: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (place + 0.5) / places, 1)


def _y(rate: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(max(rate, 0), 1)), 1)
