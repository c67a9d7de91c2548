"""The figures, drawn from the record alone."""

from __future__ import annotations

from shared.engine import Record, draw_figures


def draw(record: Record) -> dict:
    return {}


if __name__ == "__main__":
    draw_figures(__file__)
