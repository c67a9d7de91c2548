"""``python -m shared.vision.backbones conv4`` trains a backbone, in about ten minutes on one core, or goes on where a run was stopped.

The weights and their card go to the user's cache; ``--commit`` writes them into this package. Weights that are there already are not overwritten unless
``--force`` says so.
"""

from __future__ import annotations

import argparse
import json
import sys

from shared.vision.backbones.recipes import RECIPES
from shared.vision.backbones.train import make
from shared.vision.backbones.weights import COMMITTED, cache


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m shared.vision.backbones", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=RECIPES, metavar="NAME", help=", ".join(RECIPES))
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights and of the order (default 0)")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--commit", action="store_true", help="write into shared/vision/backbones/weights instead of the cache")
    parser.add_argument("--force", action="store_true", help="overwrite weights that are there already")
    asked = parser.parse_args(arguments)
    refused = [name for name in asked.names if asked.commit and not RECIPES[name].committed]
    if refused:
        print(f"{', '.join(refused)}: trained on data without stated free terms, so its weights stay in the cache (no --commit)", file=sys.stderr)
        return 2
    folder, status = COMMITTED if asked.commit else cache(), 0
    for name in asked.names:
        path = folder / f"{name}-{asked.seed}.safetensors"
        if path.exists() and not asked.force:
            print(f"{path.name} is there already ({folder}); --force makes it anew", file=sys.stderr)
            status = 1
            continue
        card = make(f"{name}-{asked.seed}", folder, asked.device)
        print(json.dumps(card["accuracy"], indent=1))
        print(f"wrote {path}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
