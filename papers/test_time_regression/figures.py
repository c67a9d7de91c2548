"""Figures from the record alone."""

from __future__ import annotations

from matplotlib.figure import Figure

from shared.engine import Record, draw_figures


def draw(record: Record) -> dict[str, Figure]:
    """All figures by file name."""
    return {}


if __name__ == "__main__":
    draw_figures(__file__)
