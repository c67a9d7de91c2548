"""Pre-train a model: ``python -m shared.lms.train dec-xs --seed 0``. It resumes where it was stopped, and ends with the weights, their card and its gates.

On 2 quiet cores of the class this was written on: xs 10 minutes, s 45 minutes. m and b want a GPU. The result goes to the user's cache; ``--commit`` writes it
into this package (``shared/lms/weights``). Weights that are there already are not overwritten unless ``--force`` says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import platform
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

from shared.data.fetch import cache_folder
from shared.lms.config import ModelConfig, flatten, named, nest, parameter_count, split_name
from shared.lms.corpora import CORPORA, documents
from shared.lms.gates import evaluate
from shared.lms.heldout import check
from shared.lms.pretraining import Program, State, compiled, program
from shared.lms.recipes import Recipe, TrainingText, recipe_for, training_text
from shared.lms.tokenization import Tokenizer, tokenizer_of
from shared.lms.weights import COMMITTED, full_name, read, register, replace, save
from shared.seeds import jax_key

RECIPE_HELP = {
    "learning_rate": "peak of the learning rate",
    "steps": "steps",
    "batch": "windows a step",
    "weight_decay": "AdamW's weight decay of matrices and tables",
    "final_rate": "the cosine's end, as a share of the peak",
    "corpora": "texts to train on (default: those with free terms)",
    "facts_share": "share of a decoder's batch that are facts",
    "warm_up": "share of the steps in which the learning rate rises",
    "mask_share": "share of an encoder's tokens that are predicted",
    "initial_scale": "standard deviation of the layers' initial matrices",
}
CHUNK = 50
"""Steps of one compiled call, after which a line is printed."""


def main(arguments: list[str] | None = None) -> int:
    asked = parse(arguments)
    name = full_name(asked.name) if asked.seed is None else full_name(f"{asked.name}-{asked.seed}")
    folder = COMMITTED if asked.commit else cache_folder() / "lms"
    path = folder / f"{name}.safetensors"
    if path.exists() and not asked.force:
        print(f"{path.name} is there already ({folder}); --force makes it anew", file=sys.stderr)
        return 1
    changes = {field.name: getattr(asked, field.name) for field in dataclasses.fields(Recipe) if getattr(asked, field.name) is not None}
    recipe = dataclasses.replace(recipe_for(name), **changes)
    config, tokenizer, seed = named(name), tokenizer_of(name), split_name(name)[3]
    dtype = jnp.bfloat16 if jax.default_backend() == "gpu" else jnp.float32
    print(f"{name}: {parameter_count(config):,} parameters, {recipe}", flush=True)

    text = training_text(recipe, tokenizer, config.context, seed)
    held_out = check([document for each in recipe.corpora for document in documents(each).train])
    if held_out["found"]:
        raise ValueError(f"{len(held_out['found'])} held-out texts are in the training documents, the first: {held_out['found'][0]!r}")
    states = cache_folder() / "lms" / f"{name}-{identity(config, recipe, tokenizer, text)}.state"
    began = time.time()
    params, losses = train(compiled(program(config, recipe, tokenizer, dtype)), text, seed, states, asked.every, tokens_a_step=recipe.batch * config.context)
    seconds = time.time() - began

    weights = {key: np.asarray(value) for key, value in flatten(params).items()}
    card = describe(name, config, recipe, tokenizer, text, losses, seconds) | {"held_out": held_out}
    save(path, config, weights, card)
    print(f"trained in {seconds:.0f} s (this call); now the gates", flush=True)
    stored = nest({key: jnp.asarray(value) for key, value in read(path)[1].items()})  # what a user will load, rounded to float16
    card["gates"] = evaluate(stored, config, tokenizer, recipe, split_name(name)[1])
    save(path, config, weights, card)
    states.unlink(missing_ok=True)
    if asked.commit:
        register()
    print(json.dumps(card["gates"], indent=1))
    print(f"wrote {path}" + ("" if card["gates"]["passed"] else "; a gate is NOT passed"))
    return 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m shared.lms.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="dec-xs, enc-s, dec-xs-py, ...: family, size, and -py for the model of Python code")
    parser.add_argument("--seed", type=int, help="pre-training seed (also as the name's last part: dec-xs-1); 0 unless said")
    parser.add_argument("--commit", action="store_true", help="write into shared/lms/weights instead of the cache")
    parser.add_argument("--force", action="store_true", help="overwrite weights that are there already")
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints to resume from (a multiple of 50; default 250)")
    recipe = parser.add_argument_group("the recipe, where it should differ")
    for field in dataclasses.fields(Recipe):
        kind = {"int": int, "float": float}.get(field.type, str)
        flag = f"--{field.name.replace('_', '-')}"
        if field.name == "corpora":
            recipe.add_argument(flag, nargs="+", choices=CORPORA, help=RECIPE_HELP[field.name])
        else:
            recipe.add_argument(flag, type=kind, help=RECIPE_HELP[field.name])
    asked = parser.parse_args(arguments)
    asked.corpora = tuple(asked.corpora) if asked.corpora else None
    return asked


def identity(config: ModelConfig, recipe: Recipe, tokenizer: Tokenizer, text: TrainingText) -> str:
    """Eight letters that differ when anything that a run depends on does: a checkpoint is only ever resumed by the same run."""
    told = hashlib.sha256(repr((config, recipe, tokenizer.sha256)).encode())
    told.update(text.tokens.tobytes())
    told.update(text.starts.tobytes())
    return told.hexdigest()[:8]


def train(run: Program, text: TrainingText, seed: int, states: Path, every: int, tokens_a_step: int) -> tuple[dict, np.ndarray]:
    """All steps of the program, from the checkpoint ``states`` if there is one; every ``every`` steps it is written anew, whole or not at all.

    Returns the weights and each step's loss. A run that was stopped and resumed gives the same bits as one that was not.
    """
    state = run.start(jax_key(seed, "init"))
    losses = np.zeros(len(text.starts), np.float32)
    done = 0
    if states.exists():
        state, losses = restore(states, state)
        done = int(state.step)
        print(f"resumed at step {done} of {len(losses)}", flush=True)
    tokens, starts, key = jnp.asarray(text.tokens), jnp.asarray(text.starts), jax_key(seed, "masks")
    began, first = time.time(), done
    while done < len(losses):
        upto = min(done + CHUNK, len(losses))
        state, chunk = run.advance(state, tokens, starts[done:upto], key)
        losses[done:upto] = chunk
        if not np.isfinite(losses[done:upto]).all():
            raise FloatingPointError(f"the loss is not finite between steps {done} and {upto}")
        if upto % every == 0 and upto < len(losses):
            store(states, state, losses)
        rate = (upto - first) / (time.time() - began)
        left = (len(losses) - upto) / rate
        print(f"step {upto}/{len(losses)}  loss {losses[done:upto].mean():.4f}  {rate * tokens_a_step:,.0f} tokens/s  {left / 60:.1f} min left", flush=True)
        done = upto
    return state.params, losses


def store(path: Path, state: State, losses: np.ndarray) -> None:
    """Everything that the next step needs, by one rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    leaves = {f"{i:04d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    replace(path, lambda partial: save_file(leaves | {"losses": losses}, partial))


def restore(path: Path, like: State) -> tuple[State, np.ndarray]:
    """The state with the shape of ``like``, and the losses so far."""
    stored = load_file(path)
    losses = stored.pop("losses")
    return jax.tree.unflatten(jax.tree.structure(like), [jnp.asarray(stored[name]) for name in sorted(stored)]), losses


def describe(name: str, config: ModelConfig, recipe: Recipe, tokenizer: Tokenizer, text: TrainingText, losses: np.ndarray, seconds: float) -> dict:
    """The card: what the weights are, what they were trained on and under which terms, how, and on what."""
    read = [{"name": each, "title": CORPORA[each].title, "terms": CORPORA[each].terms, "sha256": documents(each).sha256} for each in recipe.corpora]
    if recipe.facts_share:
        facts = "training triples of UMLS, Countries S1 and Nations", "MIT (villmow/datasets_knowledge_embedding)"
        read.append({"name": "facts", "title": facts[0], "terms": facts[1], "sha256": hashlib.sha256(text.facts.tobytes()).hexdigest()})
    return {
        "name": name,
        "parameters": parameter_count(config),
        "recipe": dataclasses.asdict(recipe),
        "tokenizer": {"name": tokenizer.name, "sha256": tokenizer.sha256},
        "corpora": read,
        "tokens": {"text": len(text.text), "facts": len(text.facts), "read": int(losses.size * recipe.batch * config.context)},
        "training_loss": [round(float(part.mean()), 4) for part in np.array_split(losses, min(25, len(losses)))],
        "seconds": round(seconds),
        "machine": {"processor": processor(), "device": jax.devices()[0].device_kind, "cores": os.cpu_count()},
        "versions": {"python": platform.python_version(), "jax": jax.__version__, "numpy": np.__version__},
    }


def processor() -> str:
    """The name that the processor gives itself, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    sys.exit(main())
