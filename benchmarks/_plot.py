"""A plot as SVG, written by hand: a logarithmic axis of times over an axis of seconds, with phases behind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

Line = tuple[str, str, Sequence[tuple[float, float]]]
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 900, 420, 70, 54, 16, 60
_LOW, _HIGH = 1e-3, 10.0


def times_over_time(title: str, phases: Sequence[tuple[str, float, float]], bound: float, lines: Sequence[Line]) -> str:
    """`lines`: name, colour, points (second, seconds).  `bound` is drawn across."""
    end = phases[-1][2]

    def x(second: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * second / end

    def y(value: float) -> float:
        share = (math.log10(min(_HIGH, max(_LOW, value))) - math.log10(_LOW)) / (math.log10(_HIGH) - math.log10(_LOW))
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-size="11" role="img">',
        f"<style>text {{ font-family: sans-serif }}</style><title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="20" font-size="14" fill="#222">{escape(title)}</text>',
    ]
    for number, (name, begins, ends) in enumerate(phases):
        fill = "#f3f4f6" if number % 2 else "#fff"
        parts.append(
            f'<rect x="{x(begins):.1f}" y="{_TOP}" width="{x(ends) - x(begins):.1f}"'
            f' height="{_HEIGHT - _TOP - _BOTTOM}" fill="{fill}"><title>{escape(name)}</title></rect>'
            f'<text x="{x(begins) + 3:.1f}" y="{_TOP + 13}" fill="#555">{number + 1}</text>'
        )
    for power in range(-3, 2):
        value = 10.0**power
        label = f"{value * 1000:g} ms" if value < 1 else f"{value:g} s"
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>'
            f'<text x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end" fill="#444">{label}</text>'
        )
    for second in range(0, int(end) + 1, 10):
        parts.append(
            f'<text x="{x(second):.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle" fill="#444">{second} s</text>'
        )
    parts.append(
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(bound):.1f}" y2="{y(bound):.1f}" stroke="#b91c1c"'
        f' stroke-dasharray="5 4"/><text x="{_WIDTH - _RIGHT - 4}" y="{y(bound) - 5:.1f}" text-anchor="end"'
        f' fill="#b91c1c">max_staleness, {bound:g} s</text>'
    )
    for number, (name, colour, points) in enumerate(lines):
        path = " ".join(f"{x(second):.1f},{y(value):.1f}" for second, value in points)
        legend = _LEFT + 150 * number
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
            f'<line x1="{legend}" x2="{legend + 24}" y1="{_HEIGHT - 18}" y2="{_HEIGHT - 18}" stroke="{colour}"'
            f' stroke-width="2"/><text x="{legend + 30}" y="{_HEIGHT - 14}" fill="#222">{escape(name)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"
