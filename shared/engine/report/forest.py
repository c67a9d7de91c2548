"""One claim as a strip: its interval on an axis of its own, against the side that the criterion accepts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from html import escape
from typing import Any

from shared.engine.report.markdown import measured, number
from shared.engine.statistics import parse_criterion

WIDTH, HEIGHT, MARGIN = 300, 46, 14
MIDDLE, AXIS = 15, 30  # heights of the interval and of the axis
MARKS = {
    "reproduced": '<circle cx="{x}" cy="{y}" r="4.5"/>',
    "contradicted": '<path d="M{x} {y}m-5-5l10 10m0-10l-10 10" fill="none" stroke-width="2.6"/>',
    "inconclusive": '<circle cx="{x}" cy="{y}" r="4" fill="#fff" stroke-width="2"/>',
}


def reported_number(text: str) -> float | None:
    """The paper's value where it is one number, perhaps after 'about' and before a remark in brackets; None for words, pairs and percentages."""
    match = re.fullmatch(r"(?:about |approximately |~ ?)?([-+]?\d*\.?\d+(?:e[-+]?\d+)?)x?(?: \([^()]*\))?", text.strip())
    return float(match[1]) if match else None


def ticks(low: float, high: float) -> list[float]:
    """Two to five round numbers inside [low, high]."""
    decade = math.floor(math.log10(high - low))
    for step in (factor * 10.0**power for power in (decade, decade - 1) for factor in (5, 2, 1)):
        inside = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(inside) > 1:
            break
    return [i * step for i in inside]


def strip(claim: Mapping[str, Any]) -> str:
    """SVG of a measured claim; empty where nothing was measured."""
    if claim["mean"] is None:
        return ""
    criterion = parse_criterion(claim["criterion"])
    limits = [limit for limit in (criterion.low, criterion.high) if math.isfinite(limit)]
    interval = [value for value in (claim["low"], claim["high"]) if value is not None]
    dots = claim["values"] if len(claim["values"]) <= 30 else []
    shown = [*limits, claim["mean"], *interval, *dots]
    low, high = min(shown), max(shown)
    paper = reported_number(claim["reported"])
    if paper is not None and low - 2 * (high - low) <= paper <= high + 2 * (high - low):
        low, high = min(low, paper), max(high, paper)
    room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
    low, high = low - room, high + room

    def x(value: float) -> float:
        return round(MARGIN + (WIDTH - 2 * MARGIN) * (min(max(value, low), high) - low) / (high - low), 1)

    accepted = x(criterion.low), x(criterion.high)
    parts = [f'<rect class="accepted" x="{accepted[0]}" y="1" width="{accepted[1] - accepted[0]:.1f}" height="{AXIS - 1}"/>']
    parts += [f'<path class="limit" d="M{x(limit)} 1V{AXIS}"/>' for limit in limits]
    parts.append(f'<path class="axis" d="M{MARGIN} {AXIS}H{WIDTH - MARGIN}"/>')
    for tick in ticks(low, high):
        label = number(0.0 if abs(tick) < 1e-9 * (high - low) else tick)
        parts.append(f'<path class="axis" d="M{x(tick)} {AXIS}v3"/><text x="{x(tick)}" y="{AXIS + 13}">{label}</text>')
    if paper is not None:
        at = x(paper)
        outside = "" if low <= paper <= high else f'<path class="paper" d="M{at} {MIDDLE}m{"-3-4l-5 4l5 4" if paper < low else "3-4l5 4l-5 4"}"/>'
        parts.append(f'<path class="paper" d="M{at} {MIDDLE - 6}l5 6l-5 6l-5-6z"/>{outside}')
    parts += [f'<circle class="seed" cx="{x(value)}" cy="{MIDDLE + 9}" r="2.1"/>' for value in dots if len(dots) > 1]
    if len(interval) == 2:
        parts.append(f'<path class="interval" d="M{x(interval[0])} {MIDDLE}H{x(interval[1])}"/>')
    parts.append(MARKS[claim["verdict"]].format(x=x(claim["mean"]), y=MIDDLE))
    says = f"{measured(claim)}; criterion {claim['criterion']}; {claim['verdict']}"
    return (
        f'<svg class="strip v-{claim["verdict"]}" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(says)}">'
        f"{' '.join(parts)}</svg>"
    )
