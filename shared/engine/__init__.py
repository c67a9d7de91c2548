"""The engine that turns claims into verdicts. A paper meets it at these names alone.

It knows no model and no data set, and nothing in it counts towards a trial's cache key.
"""

from shared.engine.contract import NotRun, chosen, claim, per_seed
from shared.engine.main import draw_figures, main
from shared.engine.records import Record

__all__ = ["NotRun", "Record", "chosen", "claim", "draw_figures", "main", "per_seed"]
