"""One call from a name to a backbone: trained here, or a checkpoint of your own (transformers, timm) behind the same ``features``.

backbone = load("conv4")                                    # or "conv4-1": another seed
backbone = load("path of a transformers vision checkpoint, or its hub id after transformers:")
backbone = load("timm:vit_small_patch16_224.augreg_in21k")
z = extract(backbone.module, as_input(images, **backbone.input))
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from shared.vision.backbones.recipes import RECIPES, ROTATIONS, split_name
from shared.vision.backbones.weights import fill, find, read
from shared.vision.networks import Network

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(NamedTuple):
    module: Network
    """In evaluation mode. Its head tells apart the classes and rotations that it was trained on; put another in its place for other classes."""
    card: dict

    @property
    def input(self) -> dict[str, int]:
        """Side and channels of the images that it takes."""
        return {"side": self.card["input"]["side"], "channels": self.card["input"]["channels"]}


def load(name: str, device: str = "cpu") -> Backbone:
    """``name``: ``conv4``, ``vit28`` or ``res8c``, with ``-1``, ``-2``, ... for another seed; a safetensors file with its card; ``timm:<model>``,
    ``transformers:<hub id>`` or the folder of a transformers checkpoint."""
    library, colon, model = name.partition(":")
    if colon and library in ("timm", "transformers"):
        backbone = from_timm(model) if library == "timm" else from_transformers(model)
    elif Path(name).is_dir() and name.partition("-")[0] not in RECIPES:
        backbone = from_transformers(name)
    else:
        weights, card = read(Path(name) if name.endswith(".safetensors") else find(name))
        module = RECIPES[split_name(card["name"])[0]].network(ROTATIONS * card["data"]["classes"])
        fill(module, weights)
        backbone = Backbone(module, card)
    return Backbone(backbone.module.to(device).eval(), backbone.card)


class Foreign(Network):
    """A model of another library. It is given images in [0, 1], which it standardises with its own mean and deviation."""

    def __init__(self, model: nn.Module, n_features: int, mean: tuple[float, ...], std: tuple[float, ...]):
        super().__init__()
        self.model, self.n_features = model, n_features
        self.head = nn.Identity()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[:, None, None], persistent=False)

    def features(self, x: Tensor) -> Tensor:
        return self.pooled((x - self.mean) / self.std)

    def pooled(self, x: Tensor) -> Tensor:
        """(batch, n_features) of standardised images."""
        return self.model(x)


class FromTransformers(Foreign):
    """The class token of the last layer, or the mean of tokens or map where there is none."""

    def pooled(self, x: Tensor) -> Tensor:
        last = self.model(pixel_values=x).last_hidden_state
        if last.ndim == 4:  # a convolutional network: (batch, channels, height, width)
            return last.mean((2, 3))
        has_class_token = any(name.endswith(("cls_token", "class_embedding")) for name, _ in self.model.named_parameters())
        return last[:, 0] if has_class_token else last.mean(1)


def from_transformers(path: str) -> Backbone:
    """A transformers vision model; mean and deviation from its image processor (0.5 and 0.5 if it has none)."""
    try:
        import transformers
    except ImportError as error:
        raise ImportError(f"opening the checkpoint {path} needs the extra 'transformers': pip install transformers") from error
    model = transformers.AutoModel.from_pretrained(path)
    try:
        processor, _ = transformers.image_processing_base.ImageProcessingMixin.get_image_processor_dict(path)
    except OSError:
        processor = {}
    channels = model.config.num_channels
    mean, std = (tuple(processor.get(key, [0.5] * channels)) for key in ("image_mean", "image_std"))
    size = getattr(model.config, "image_size", None) or processor.get("size", {}).get("height", 224)
    side = size if isinstance(size, int) else size[0]
    hidden = getattr(model.config, "hidden_sizes", None)
    n_features = hidden[-1] if hidden else model.config.hidden_size
    return Backbone(FromTransformers(model, n_features, mean, std), foreign_card(f"transformers:{path}", model, n_features, channels, side))


def from_timm(name: str) -> Backbone:
    """A timm model with pre-trained weights and no head."""
    try:
        import timm
    except ImportError as error:
        raise ImportError(f"opening the model {name} needs timm: pip install timm") from error
    model = timm.create_model(name, pretrained=True, num_classes=0)
    shape = model.pretrained_cfg.get("input_size", (3, 224, 224))
    mean, std = (tuple(model.pretrained_cfg.get(key, default)) for key, default in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)))
    return Backbone(Foreign(model, model.num_features, mean, std), foreign_card(f"timm:{name}", model, model.num_features, shape[0], shape[-1]))


def foreign_card(name: str, model: nn.Module, n_features: int, channels: int, side: int) -> dict:
    return {
        "name": name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "n_features": n_features,
        "input": {"channels": channels, "side": side, "range": [0, 1]},
        "data": {"title": "not known here: see to it that it shares no class with a stream"},
    }
