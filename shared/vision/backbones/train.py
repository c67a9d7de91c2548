"""Train a backbone, epoch by epoch, so that a run that was stopped goes on where it was; and write its card."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from shared.seeds import seed_torch, torch_generator
from shared.vision.backbones.recipes import RECIPES, ROTATIONS, Recipe, examples, optimizer_of, split_name
from shared.vision.backbones.scoring import report
from shared.vision.backbones.splits import TrainingImages
from shared.vision.backbones.weights import cache, fill, read, save, store_state
from shared.vision.networks import Network
from shared.vision.training import batches, cosine

PROGRESS_SECONDS = 20.0


def new_network(recipe: Recipe, classes: int, seed: int) -> Network:
    """The untrained network of a seed; its scores are for each class and each turn."""
    seed_torch(seed, "backbone init")
    return recipe.network(ROTATIONS * classes)


def train(recipe: Recipe, data: TrainingImages, seed: int, state_file: Path, device: str = "cpu") -> tuple[Network, dict]:
    """All epochs, from the state in ``state_file`` if there is one; it is written anew after each epoch.

    Returns the network and a log: the mean loss of each epoch, and the seconds (wall and processor) of all calls together. On one machine and with one thread,
    a run that was stopped and resumed gives the same bits as one that was not.
    """
    network = new_network(recipe, len(data.classes), seed).to(device)
    if recipe.bf16:
        network = network.to(memory_format=torch.channels_last)
    optimizer = optimizer_of(recipe, network)
    peaks = [group["lr"] for group in optimizer.param_groups]
    log: dict = {"loss": [], "seconds": 0.0, "processor_seconds": 0.0}
    if state_file.exists():
        state = torch.load(state_file, weights_only=True, map_location=device)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        log = state["log"]
        print(f"resumed after epoch {len(log['loss'])} of {recipe.epochs}", flush=True)
    x, y = torch.from_numpy(data.x).to(device), torch.from_numpy(data.y).to(device)
    per_epoch = max(1, ROTATIONS * len(x) // recipe.batch)
    for epoch in range(len(log["loss"]), recipe.epochs):
        generator = torch_generator(seed, f"backbone epoch {epoch}", device)
        wall, processor = time.perf_counter(), time.process_time()
        told, total = wall, torch.zeros((), device=device)
        network.train()
        for step, rows in enumerate(batches(ROTATIONS * len(x), recipe.batch, generator)):
            factor = cosine(epoch * per_epoch + step, recipe.epochs * per_epoch, recipe.warm_up * per_epoch)
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            images, labels = examples(recipe, x, y, rows, generator)
            with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=recipe.bf16):
                scores = network(images.contiguous(memory_format=torch.channels_last) if recipe.bf16 else images)
            loss = F.cross_entropy(scores.float(), labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach()
            if time.perf_counter() - told > PROGRESS_SECONDS:
                told = time.perf_counter()
                left = (told - wall) / (step + 1) * (per_epoch * (recipe.epochs - epoch) - step - 1)
                done = f"epoch {epoch + 1}/{recipe.epochs}  step {step + 1}/{per_epoch}"
                print(f"{done}  loss {float(total) / (step + 1):.4f}  {left / 60:.1f} min left", flush=True)
        mean = float(total) / per_epoch
        if not np.isfinite(mean):
            raise FloatingPointError(f"the loss of epoch {epoch + 1} is not finite")
        log["loss"].append(mean)
        log["seconds"] += time.perf_counter() - wall
        log["processor_seconds"] += time.process_time() - processor
        store_state(state_file, {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "log": log})
        print(f"epoch {epoch + 1}/{recipe.epochs}  loss {mean:.4f}  {log['seconds']:.0f} s", flush=True)
    return network.to("cpu").eval(), log


def make(name: str, folder: Path, device: str = "cpu") -> dict:
    """Train the backbone of that name, write its weights and card into ``folder``, and return the card."""
    base, seed = split_name(name)
    recipe = RECIPES[base]
    data = recipe.data()
    data_sha256 = fingerprint(data)
    numbers = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe) if field.name not in ("network", "data", "committed")}
    identity = hashlib.sha256(repr((base, seed, numbers, data_sha256, device)).encode()).hexdigest()[:8]
    state_file = cache() / f"{base}-{seed}-{identity}.state"
    print(f"{base}-{seed}: {numbers}; {len(data.x):,} images, each in {ROTATIONS} rotations", flush=True)
    network, log = train(recipe, data, seed, state_file, device)
    card = {
        "name": f"{base}-{seed}",
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "n_features": network.n_features,
        "input": {"channels": data.x.shape[1], "side": data.x.shape[2], "range": [0, 1]},
        "recipe": numbers,
        "data": {
            "title": data.title,
            "terms": data.terms,
            "source": data.source,
            "images": len(data.x),
            "classes": len(data.classes),
            "rotations": ROTATIONS,
            "sha256": data_sha256,
        },
        "training_loss": [round(loss, 4) for loss in log["loss"]],
        "seconds": round(log["seconds"]),
        "processor_seconds": round(log["processor_seconds"]),
        "machine": {"processor": processor(), "device": device, "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
    }
    path = folder / f"{base}-{seed}.safetensors"
    save(path, network, card)
    fill(network, read(path)[0])  # what a user will load, rounded to float16
    untrained = new_network(recipe, len(data.classes), seed).eval()
    card["accuracy"] = {"on": measured_on(base), "trained": report(base, network), "untrained": report(base, untrained)}
    card = save(path, network, card)
    state_file.unlink(missing_ok=True)
    return card


def fingerprint(data: TrainingImages) -> str:
    """The sha256 of images and labels as they are trained on."""
    return hashlib.sha256(data.x.tobytes() + data.y.tobytes()).hexdigest()


def measured_on(base: str) -> str:
    if base == "res8c":
        return "test images of the four vehicles"
    return "validation alphabets (Korean to Tifinagh, 331 characters), class means and cosine; 600 episodes of 15 queries a class"


def processor() -> str:
    """The name that the processor gives itself, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
