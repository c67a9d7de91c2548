"""Published checkpoints in this folder's layout: Llama, Mistral, Qwen2, GPT-Neo, BERT, RoBERTa (with its pre-norm variant) out of ``transformers``.

    config, weights = convert(transformers.AutoModelForCausalLM.from_pretrained("a local folder or a hub id"))

``weights`` is a flat dictionary of torch tensors; ``loading.py`` makes JAX parameters or a torch module of it. ``transformers`` is an optional extra, imported
only when a checkpoint is opened by name.
"""

from __future__ import annotations

from torch import Tensor, nn

from shared.lms.config import ModelConfig, decoder, encoder, parameter_shapes

# Our module name -> theirs; "layers.q" stands for every layer's. A checkpoint with parameters beyond these and UNUSED is refused.
LLAMA = {
    "tokens": "model.embed_tokens",
    "layers.attention_norm": "model.layers.{}.input_layernorm",
    "layers.q": "model.layers.{}.self_attn.q_proj",
    "layers.k": "model.layers.{}.self_attn.k_proj",
    "layers.v": "model.layers.{}.self_attn.v_proj",
    "layers.o": "model.layers.{}.self_attn.o_proj",
    "layers.ffn_norm": "model.layers.{}.post_attention_layernorm",
    "layers.gate": "model.layers.{}.mlp.gate_proj",
    "layers.up": "model.layers.{}.mlp.up_proj",
    "layers.down": "model.layers.{}.mlp.down_proj",
    "final_norm": "model.norm",
    "head": "lm_head",
}
GPT_NEO = {
    "tokens": "transformer.wte",
    "positions": "transformer.wpe",
    "layers.attention_norm": "transformer.h.{}.ln_1",
    "layers.q": "transformer.h.{}.attn.attention.q_proj",
    "layers.k": "transformer.h.{}.attn.attention.k_proj",
    "layers.v": "transformer.h.{}.attn.attention.v_proj",
    "layers.o": "transformer.h.{}.attn.attention.out_proj",
    "layers.ffn_norm": "transformer.h.{}.ln_2",
    "layers.up": "transformer.h.{}.mlp.c_fc",
    "layers.down": "transformer.h.{}.mlp.c_proj",
    "final_norm": "transformer.ln_f",
    "head": "lm_head",
}
BERT = {
    "tokens": "bert.embeddings.word_embeddings",
    "positions": "bert.embeddings.position_embeddings",
    "segments": "bert.embeddings.token_type_embeddings",
    "embedding_norm": "bert.embeddings.LayerNorm",
    "layers.attention_norm": "bert.encoder.layer.{}.attention.output.LayerNorm",
    "layers.q": "bert.encoder.layer.{}.attention.self.query",
    "layers.k": "bert.encoder.layer.{}.attention.self.key",
    "layers.v": "bert.encoder.layer.{}.attention.self.value",
    "layers.o": "bert.encoder.layer.{}.attention.output.dense",
    "layers.ffn_norm": "bert.encoder.layer.{}.output.LayerNorm",
    "layers.up": "bert.encoder.layer.{}.intermediate.dense",
    "layers.down": "bert.encoder.layer.{}.output.dense",
    "head.dense": "cls.predictions.transform.dense",
    "head.norm": "cls.predictions.transform.LayerNorm",
    "head": "cls.predictions",
}
ROBERTA = {ours: theirs.replace("bert.", "roberta.", 1) for ours, theirs in BERT.items()} | {
    "head.dense": "lm_head.dense",
    "head.norm": "lm_head.layer_norm",
    "head": "lm_head",
}
PRE_NORM_ROBERTA = {ours: theirs.replace("roberta.", "roberta_prelayernorm.", 1) for ours, theirs in ROBERTA.items()} | {
    "layers.attention_norm": "roberta_prelayernorm.encoder.layer.{}.attention.LayerNorm",
    "layers.ffn_norm": "roberta_prelayernorm.encoder.layer.{}.intermediate.LayerNorm",
    "final_norm": "roberta_prelayernorm.LayerNorm",
}
UNUSED = ("pooler.", "cls.seq_relationship.", "cls.predictions.decoder.", "lm_head.decoder.", "rotary_emb.", "position_ids", "token_type_ids", "attention.bias")
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh"}


def llama_config(model: nn.Module) -> ModelConfig:
    """Llama, Mistral and Qwen2 differ in which projections have a bias and in sliding windows."""
    theirs = model.config
    rotary = model.base_model.rotary_emb
    head_width = getattr(theirs, "head_dim", None) or theirs.hidden_size // theirs.num_attention_heads
    biased = {"llama": ("q", "k", "v", "o") if getattr(theirs, "attention_bias", False) else (), "mistral": (), "qwen2": ("q", "k", "v")}[theirs.model_type]
    biased += ("gate", "up", "down") if getattr(theirs, "mlp_bias", False) else ()
    window = getattr(theirs, "sliding_window", None) or 0
    kinds = getattr(theirs, "layer_types", None) or ["sliding_attention"] * theirs.num_hidden_layers
    return decoder(
        theirs.hidden_size,
        theirs.num_hidden_layers,
        theirs.num_attention_heads,
        theirs.max_position_embeddings,
        theirs.vocab_size,
        kv_heads=theirs.num_key_value_heads,
        head_width=head_width,
        ffn=theirs.intermediate_size,
        norm_eps=theirs.rms_norm_eps,
        biased=biased,
        frequencies=tuple(rotary.inv_freq.tolist()),
        attention_scale=head_width**-0.5 * rotary.attention_scaling**2,  # the scaling of YaRN multiplies queries and keys
        windows=tuple(window if kind == "sliding_attention" else 0 for kind in kinds) if window else (),
        tied=bool(theirs.tie_word_embeddings),
    )


def gpt_neo_config(model: nn.Module) -> ModelConfig:
    """GPT-Neo: LayerNorm, learned positions, unscaled attention, every other layer with a sliding window."""
    theirs = model.config
    return encoder(
        theirs.hidden_size,
        theirs.num_layers,
        theirs.num_heads,
        theirs.max_position_embeddings,
        theirs.vocab_size,
        causal=True,
        ffn=theirs.intermediate_size or 4 * theirs.hidden_size,
        norm_eps=theirs.layer_norm_epsilon,
        activation=ACTIVATIONS[theirs.activation_function],
        biased=("o", "up", "down"),
        attention_scale=1.0,
        windows=tuple(theirs.window_size if kind == "local" else 0 for kind in theirs.attention_layers),
        segments=0,
        embedding_norm=False,
        head_transform=False,
        tied=bool(theirs.tie_word_embeddings),
    )


def bert_config(model: nn.Module) -> ModelConfig:
    """BERT and RoBERTa normalise after each sum; RoBERTa-PreLayerNorm before, like ``enc-*``. Without a language-model head there is no output transform."""
    theirs = model.config
    return encoder(
        theirs.hidden_size,
        theirs.num_hidden_layers,
        theirs.num_attention_heads,
        theirs.max_position_embeddings - unused_positions(model),
        theirs.vocab_size,
        ffn=theirs.intermediate_size,
        norm_eps=theirs.layer_norm_eps,
        activation=ACTIVATIONS[theirs.hidden_act],
        post_norm=theirs.model_type != "roberta-prelayernorm",
        segments=theirs.type_vocab_size,
        head_transform=hasattr(model, "cls") or hasattr(model, "lm_head"),
    )


KINDS = {
    "llama": (LLAMA, llama_config),
    "mistral": (LLAMA, llama_config),
    "qwen2": (LLAMA, llama_config),
    "gpt_neo": (GPT_NEO, gpt_neo_config),
    "bert": (BERT, bert_config),
    "roberta": (ROBERTA, bert_config),
    "roberta-prelayernorm": (PRE_NORM_ROBERTA, bert_config),
}


def unused_positions(model: nn.Module) -> int:
    """RoBERTa counts positions from padding_idx + 1; the rows before are dropped here."""
    return model.config.pad_token_id + 1 if model.config.model_type.startswith("roberta") else 0


def convert(model: nn.Module) -> tuple[ModelConfig, dict[str, Tensor]]:
    """A transformers model's shape and weights in this folder's layout (tensors shared with the model, in its dtype). Raises on anything left over."""
    kind = model.config.model_type
    if kind not in KINDS:
        raise ValueError(f"no conversion for a {kind!r} checkpoint; there is one for {', '.join(KINDS)}")
    names, configure = KINDS[kind]
    config, theirs = configure(model), dict(model.state_dict())
    prefix = names["tokens"].split(".")[0] + "."
    if model.base_model is model:  # without a head the names lack the base model's
        theirs = {prefix + name: value for name, value in theirs.items()}
    weights, used = {}, set()
    for name in parameter_shapes(config):
        module, _, leaf = name.rpartition(".")
        layer = module.split(".")[1] if module.startswith("layers.") else ""
        source = names[module.replace(f".{layer}.", ".") if layer else module].format(layer) + f".{leaf}"
        weights[name] = theirs[source]
        used.add(source)
    if "positions.weight" in weights:
        weights["positions.weight"] = weights["positions.weight"][unused_positions(model) :]
    left = [name for name in theirs if name not in used and not any(part in name for part in UNUSED) and not (config.tied and name == "lm_head.weight")]
    wrong = [name for name, shape in parameter_shapes(config).items() if tuple(weights[name].shape) != shape]
    if left or wrong:
        raise ValueError(f"this {kind} checkpoint does not fit: parameters without a place {left}, of another shape {wrong}")
    return config, weights


def open_checkpoint(path: str) -> tuple[nn.Module, object]:
    """The transformers model and its tokenizer at a local folder or hub id (``HF_HUB_OFFLINE=1`` keeps it off the network)."""
    try:
        import transformers
    except ImportError as error:
        raise ImportError(f"opening the checkpoint {path} needs the extra 'transformers': pip install transformers") from error
    kind = transformers.AutoConfig.from_pretrained(path).model_type
    auto = transformers.AutoModelForMaskedLM if kind in KINDS and KINDS[kind][1] is bert_config else transformers.AutoModelForCausalLM
    return auto.from_pretrained(path), transformers.AutoTokenizer.from_pretrained(path)
