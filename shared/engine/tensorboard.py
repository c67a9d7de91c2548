"""Export of a run for TensorBoard: one TensorBoard run per condition and seed, metrics as scalars, curves over their index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shared.engine.errors import RequestError


def export(record, condition_names: Sequence[str], folder: Path) -> None:
    """Write the event files of a record below ``folder``."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise RequestError("--tensorboard needs the extra 'tensorboard': nox -s extras -- tensorboard, or pip install tensorboard") from None
    names = list(dict.fromkeys(condition_names))
    for row in record.trials.to_dict("records"):
        label = "-".join(f"{name}_{row[name]}" for name in names if row[name] == row[name])
        with SummaryWriter(str(folder / record.paper / record.profile / (label or "run") / f"seed_{row['seed']}")) as writer:
            for name, value in row.items():
                if name in names or name == "seed":
                    continue
                if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype.kind in "biuf":
                    for index, point in enumerate(value):
                        writer.add_scalar(name, float(point), index)
                elif isinstance(value, (int, float)) and value == value:
                    writer.add_scalar(name, float(value), 0)
