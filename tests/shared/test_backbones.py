"""Backbones: no class in two parts, batches, resuming, files and cards, the committed weights against their cards, and checkpoints of other libraries."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from shared.data import omniglot
from shared.data.episodes import Episodes
from shared.data.fetch import DataUnavailable
from shared.vision import networks
from shared.vision.backbones import recipes, scoring, splits, train, weights
from shared.vision.backbones.__main__ import main
from shared.vision.backbones.features import as_input, extract
from shared.vision.backbones.loading import load
from shared.vision.backbones.recipes import RECIPES, ROTATIONS, examples, split_name, turned
from shared.vision.backbones.splits import TrainingImages

CARDS = sorted(weights.COMMITTED.glob("*.json"))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def drawings() -> omniglot.Characters:
    try:
        return omniglot.load()
    except DataUnavailable:
        pytest.skip("Omniglot is not on this machine")


# --- splits


def test_no_omniglot_character_is_in_two_parts_and_none_is_in_no_part(drawings):
    parts = {part: drawings.only(splits.omniglot_alphabets(drawings, part)) for part in ("pretraining", "validation", "streams")}
    characters = {part: set(chosen.character) for part, chosen in parts.items()}
    assert [len(each) for each in characters.values()] == [633, 331, 659]
    assert len(set.union(*characters.values())) == 1_623
    rows = [set(map(bytes, chosen.x.reshape(len(chosen.x), -1))) for chosen in parts.values()]
    assert not rows[0] & rows[2]  # not a single drawing of the streams was seen in pre-training
    assert not rows[0] & rows[1]
    names = [drawings.alphabet_names[index] for index in splits.omniglot_alphabets(drawings, "validation")]
    assert (names[0], names[-1], len(names)) == ("Korean", "Tifinagh", 10)


def test_vehicles_and_animals_share_no_class():
    assert splits.cifar_classes("pretraining") == [0, 1, 8, 9]
    assert splits.cifar_classes("streams") == [2, 3, 4, 5, 6, 7]


def test_the_omniglot_recipes_see_the_pretraining_characters_only(drawings):
    data = splits.omniglot_training()
    assert data.x.shape == (12_660, 1, 28, 28)
    assert len(data.classes) == 633
    assert np.array_equal(np.bincount(data.y), np.full(633, 20))
    alphabets = {name.partition("/")[0] for name in data.classes}
    assert alphabets == {drawings.alphabet_names[index] for index in splits.omniglot_alphabets(drawings, "pretraining")}


# --- batches and training


def test_four_quarter_turns_are_the_identity_and_labels_name_class_and_turn():
    x = torch.rand(5, 3, 8, 8, generator=generator())
    once = torch.ones(5, dtype=torch.long)
    assert torch.equal(turned(turned(turned(turned(x, once), once), once), once), x)
    assert torch.equal(turned(x, 2 * once), x.flip(2, 3))
    assert torch.equal(turned(x, 0 * once), x)
    recipe = dataclasses.replace(RECIPES["conv4"], shift=0)
    y = torch.tensor([3, 0, 1, 2, 4])
    images, labels = examples(recipe, x, y, torch.arange(20), generator())
    assert torch.equal(labels, ROTATIONS * y.repeat(4) + torch.arange(4).repeat_interleave(5))
    for row in range(20):
        assert torch.equal(images[row], x[row % 5].rot90(row // 5, (1, 2)))


def test_an_image_is_mirrored_before_it_is_turned():
    recipe = dataclasses.replace(RECIPES["res8c"], shift=0)
    x = torch.rand(1, 3, 6, 6, generator=generator())
    images, _ = examples(recipe, x.repeat(40, 1, 1, 1), torch.zeros(40, dtype=torch.long), torch.arange(40, 80), generator())
    allowed = [x[0].rot90(1, (1, 2)), x[0].flip(-1).rot90(1, (1, 2))]
    which = [[torch.equal(image, one) for one in allowed].index(True) for image in images]
    assert 0 < sum(which) < 40


def tiny_data(n: int = 24) -> TrainingImages:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    x = rng.random((n, 1, 28, 28), dtype=np.float32) * 0.2
    for i, label in enumerate(y):
        x[i, 0, 2 + 8 * label : 8 + 8 * label, 3:12] += 0.8
    return TrainingImages(x, y.astype(np.int64), ("a", "b", "c"), "three places of a block", "made up", "test")


TINY = dataclasses.replace(RECIPES["conv4"], network=lambda classes: networks.Conv4(classes, width=8), data=tiny_data, epochs=3, batch=16, shift=1, bf16=False)


class Stopped(Exception):
    pass


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    whole, log = train.train(TINY, tiny_data(), 0, tmp_path / "whole.state")
    assert len(log["loss"]) == 3
    calls = []

    def stop_in_the_second_epoch(*arguments):
        calls.append(arguments[3])
        if len(calls) > 8:
            raise Stopped
        return examples(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(train, "examples", stop_in_the_second_epoch)
        train.train(TINY, tiny_data(), 0, tmp_path / "cut.state")
    assert not torch.equal(calls[0], calls[6])  # each epoch has an order of its own
    resumed, resumed_log = train.train(TINY, tiny_data(), 0, tmp_path / "cut.state")
    assert resumed_log["loss"] == log["loss"]
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True))
    other, _ = train.train(TINY, tiny_data(), 1, tmp_path / "other.state")
    assert not torch.equal(other.head.weight, whole.head.weight)


def test_training_learns_what_it_is_shown(tmp_path):
    recipe = dataclasses.replace(TINY, epochs=25, learning_rate=0.05, shift=0)
    network, log = train.train(recipe, tiny_data(), 0, tmp_path / "run.state")
    assert log["loss"][-1] < 0.3 * log["loss"][0]
    x, y = torch.from_numpy(tiny_data().x), torch.from_numpy(tiny_data().y)
    images, labels = examples(recipe, x, y, torch.arange(4 * len(x)), generator())
    with torch.no_grad():
        assert (network(images).argmax(1) == labels).float().mean() > 0.9


def test_adamw_decays_no_bias_and_no_norm():
    network = networks.vit28(8)
    optimizer = recipes.optimizer_of(RECIPES["vit28"], network)
    decayed = {id(parameter) for group in optimizer.param_groups if group["weight_decay"] for parameter in group["params"]}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in decayed}
    assert "head.weight" in names and "layers.0.qkv.weight" in names
    assert not any(name.endswith("bias") or "norm" in name for name in names)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(network.parameters()))


# --- the command, files and cards


@pytest.fixture
def tiny_command(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_CACHE_DIR", str(tmp_path))
    monkeypatch.setitem(RECIPES, "conv4", TINY)
    monkeypatch.setattr(train, "report", lambda name, module: {"right": 0.5})
    return tmp_path / "backbones"


def test_the_command_trains_once_and_what_it_wrote_loads(tiny_command, capsys):
    assert main(["conv4", "--seed", "3"]) == 0
    assert [path.name for path in sorted(tiny_command.iterdir())] == ["conv4-3.json", "conv4-3.safetensors"]
    backbone = load("conv4-3")
    assert backbone.card["data"]["classes"] == 3
    assert len(backbone.card["training_loss"]) == 3
    assert not backbone.module.training
    assert backbone.module.head.out_features == 12
    trained, _ = train.train(TINY, tiny_data(), 3, tiny_command / "again.state")
    x = torch.from_numpy(tiny_data().x)
    assert torch.allclose(extract(backbone.module, x), extract(trained, x), atol=1e-2)  # float16
    assert torch.equal(load(str(tiny_command / "conv4-3.safetensors")).module.head.weight, backbone.module.head.weight)
    assert main(["conv4", "--seed", "3"]) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["conv4", "--seed", "3", "--force"]) == 0


def test_weights_that_are_not_what_their_card_names_are_refused(tiny_command):
    assert main(["conv4", "--seed", "5"]) == 0
    path = tiny_command / "conv4-5.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        load("conv4-5")


def test_a_name_without_weights_says_how_to_train_them(tiny_command):
    with pytest.raises(FileNotFoundError, match=r"python -m shared.vision.backbones conv4 --seed 77"):
        load("conv4-77")
    with pytest.raises(ValueError, match="choose one of"):
        load("conv5")
    assert split_name("res8c-12") == ("res8c", 12)


def test_weights_on_data_without_free_terms_are_not_committed(capsys):
    assert main(["res8c", "--commit"]) == 2
    assert "free terms" in capsys.readouterr().err
    assert not RECIPES["res8c"].committed


def test_weights_that_do_not_fit_are_refused():
    full = networks.Conv4(8, width=4).state_dict()
    del full["layers.0.weight"]
    with pytest.raises(ValueError, match="do not fit"):
        weights.fill(networks.Conv4(8, width=4), full)


# --- features and scores


def test_images_of_any_data_set_become_input():
    grey = np.full((2, 28, 28), 255, np.uint8)
    assert torch.equal(as_input(grey, 28, 1), torch.ones(2, 1, 28, 28))
    ink = np.zeros((2, 28, 28), np.uint8)
    ink[:, 3, 4] = 1
    assert as_input(ink, 28, 1)[0, 0, 3, 4] == 1
    assert as_input(grey[:, :16, :16], 28, 3).shape == (2, 3, 28, 28)
    colour = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert torch.allclose(as_input(colour, 32, 3)[1, :, 5, 7] * 255, torch.tensor(colour[1, 5, 7]).float())
    luma = as_input(colour, 32, 1)[1, 0, 5, 7] * 255
    assert luma == pytest.approx(float(colour[1, 5, 7] @ [0.299, 0.587, 0.114]), abs=1e-3)
    assert as_input(np.full((1, 8, 8), 8, np.uint8), 8, 1, white=16)[0, 0, 0, 0] == 0.5
    with pytest.raises(ValueError, match="channels"):
        as_input(torch.zeros(1, 2, 8, 8), 8, 1)


def test_extraction_in_batches_uses_running_statistics_and_leaves_the_mode_alone():
    module = networks.Conv4(4, width=8).train()
    x = torch.rand(11, 1, 28, 28, generator=generator())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    z = extract(module, x, batch=4)
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    with torch.no_grad():
        assert torch.allclose(z, module.eval().features(x), atol=1e-6)


def test_class_mean_scores_equal_a_loop():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 5)) + np.repeat(rng.normal(size=(6, 5)), 10, axis=0)
    y = np.repeat(np.arange(6), 10)
    found = scoring.episodes(y, 30, ways=3, shots=2, queries=4, rng=rng)
    got = scoring.episode_accuracy(z, found, chunk=7)

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    for e in range(30):
        means = [np.mean([z[i] / np.linalg.norm(z[i]) for i in found.support[e, way]], axis=0) for way in range(3)]
        right = [np.argmax([cosine(z[i], mean) for mean in means]) == way for way in range(3) for i in found.query[e, way]]
        assert got[e] == pytest.approx(np.mean(right))
    train_rows = np.arange(60) % 10 < 7
    means = [np.mean([v / np.linalg.norm(v) for v in z[train_rows & (y == c)]], axis=0) for c in range(6)]
    expected = np.mean([np.argmax([cosine(v, mean) for mean in means]) == c for v, c in zip(z[~train_rows], y[~train_rows], strict=True)])
    assert scoring.class_mean_accuracy(z[train_rows], y[train_rows], z[~train_rows], y[~train_rows]) == pytest.approx(expected)


def test_one_hot_features_are_always_right_and_swapped_ones_never():
    z = np.eye(4)[np.repeat(np.arange(4), 3)]
    rows = np.arange(12).reshape(1, 4, 3)
    right = Episodes(rows[:, :, :1], rows[:, :, 1:], np.arange(4)[None])
    wrong = Episodes(rows[:, :, :1], rows[:, ::-1, 1:], np.arange(4)[None])
    assert scoring.episode_accuracy(z, right) == 1
    assert scoring.episode_accuracy(z, wrong) == 0


# --- the committed weights


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_committed_weights_are_small_free_and_what_their_card_says(path):
    card = json.loads(path.read_text())
    base, seed = split_name(card["name"])
    backbone = load(card["name"])  # checks the sha256
    assert path.stem == f"{base}-{seed}"
    assert RECIPES[base].committed
    assert card["data"]["terms"] == "MIT"
    assert path.with_suffix(".safetensors").stat().st_size == card["weights"]["bytes"] < 3_000_000
    assert card["parameters"] == sum(parameter.numel() for parameter in backbone.module.parameters())
    assert card["n_features"] == backbone.module.n_features
    assert all(parameter.isfinite().all() for parameter in backbone.module.state_dict().values())
    assert card["training_loss"][-1] < card["training_loss"][0]
    assert len(card["training_loss"]) == card["recipe"]["epochs"]
    for measure, value in card["accuracy"]["trained"].items():
        assert value > card["accuracy"]["untrained"][measure] + 0.1


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_committed_weights_were_trained_on_the_pretraining_part_and_are_as_accurate_as_their_card_says(path, drawings):
    card = json.loads(path.read_text())
    if drawings.source == card["data"]["source"]:
        data = splits.omniglot_training()
        assert train.fingerprint(data) == card["data"]["sha256"]
    chosen = drawings.only(splits.omniglot_alphabets(drawings, "validation"))
    half = chosen.of(chosen.character % 2 == 0)
    got = scoring.drawings_report(load(card["name"]).module, half, seed=1, count=100)
    for measure in ("5-way 1-shot", "20-way 1-shot", "20-way 5-shot"):
        assert got[measure] == pytest.approx(card["accuracy"]["trained"][measure], abs=0.03)  # other episodes, a sixth as many, of half the characters


# --- checkpoints of other libraries


def test_a_transformers_checkpoint_gives_features_through_the_same_call(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTConfig(image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    model = transformers.ViTModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.5]}))
    backbone = load(str(tmp_path))
    assert backbone.input == {"side": 32, "channels": 3}
    assert not backbone.module.training
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    x = as_input(images, **backbone.input)
    z = extract(backbone.module, x, batch=2)
    assert z.shape == (3, backbone.card["n_features"]) == (3, 16)
    standardised = (x - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / torch.tensor([0.2, 0.25, 0.5])[:, None, None]
    with torch.no_grad():
        assert torch.allclose(z, model(standardised).last_hidden_state[:, 0], atol=1e-5)
    assert torch.equal(backbone.module(x), backbone.module.features(x))


def test_a_convolutional_transformers_checkpoint_gives_the_mean_of_its_last_map(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ResNetConfig(num_channels=1, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    model = transformers.ResNetModel(config).eval()
    model.save_pretrained(tmp_path)
    backbone = load(str(tmp_path))
    assert backbone.input == {"side": 224, "channels": 1}
    x = torch.rand(2, 1, 32, 32, generator=generator())
    with torch.no_grad():
        assert torch.allclose(extract(backbone.module, x), model((x - 0.5) / 0.5).last_hidden_state.mean((2, 3)), atol=1e-5)


def test_tokens_without_a_class_token_are_averaged(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SwinConfig(image_size=16, patch_size=2, num_channels=1, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=2)
    model = transformers.SwinModel(config, add_pooling_layer=False).eval()
    model.save_pretrained(tmp_path)
    backbone = load(str(tmp_path))
    x = torch.rand(2, 1, 16, 16, generator=generator())
    with torch.no_grad():
        assert torch.allclose(extract(backbone.module, x), model((x - 0.5) / 0.5).last_hidden_state.mean(1), atol=1e-5)


def test_a_timm_model_gives_features_through_the_same_call():
    timm = pytest.importorskip("timm")
    from unittest import mock

    make = timm.create_model
    with mock.patch.object(timm, "create_model", lambda name, pretrained, **options: make(name, pretrained=False, **options)):
        backbone = load("timm:resnet10t")
    assert extract(backbone.module, as_input(np.zeros((1, 8, 8), np.uint8), **backbone.input)).shape == (1, backbone.card["n_features"])
