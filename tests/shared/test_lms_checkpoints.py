"""Random models of ``transformers`` and this folder's functions on the same weights give the same logits.

``transformers`` is an optional extra: where it is not installed the report says that this parity was not checked.
"""

from __future__ import annotations

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from shared.lms import jax_model
from shared.lms.config import nest
from shared.lms.torch_model import Transformer

HAVE = importlib.util.find_spec("transformers") is not None
oracle = pytest.mark.skipif(not HAVE, reason="the extra 'transformers' is not installed: parity with Llama, Qwen2 and BERT is NOT checked here")
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 60, "max_position_embeddings": 40}


def their_model(kind: str):
    import transformers as hf

    if kind == "llama":
        return hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL, intermediate_size=88, num_key_value_heads=4))
    if kind == "llama, grouped, tied, rescaled":
        rope = {
            "rope_type": "llama3",
            "rope_theta": 1e4,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 20,
        }
        grouped = hf.LlamaConfig(**SMALL, intermediate_size=88, num_key_value_heads=2, tie_word_embeddings=True, rope_parameters=rope, mlp_bias=True)
        return hf.LlamaForCausalLM(grouped)
    if kind == "mistral":
        return hf.MistralForCausalLM(hf.MistralConfig(**SMALL, intermediate_size=88, num_key_value_heads=2, sliding_window=5, attn_implementation="eager"))
    if kind == "qwen2":
        return hf.Qwen2ForCausalLM(hf.Qwen2Config(**SMALL, intermediate_size=88, num_key_value_heads=2))
    if kind == "gpt_neo":
        sizes = {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 60, "max_position_embeddings": 40}
        return hf.GPTNeoForCausalLM(hf.GPTNeoConfig(**sizes, attention_types=[[["global", "local"], 1]], window_size=4, attn_implementation="eager"))
    if kind == "bert":
        return hf.BertForMaskedLM(hf.BertConfig(**SMALL, intermediate_size=64))
    if kind == "bert without head":
        return hf.BertModel(hf.BertConfig(**SMALL, intermediate_size=64))
    if kind == "roberta":
        return hf.RobertaForMaskedLM(hf.RobertaConfig(**SMALL, intermediate_size=64, pad_token_id=1))
    return hf.RobertaPreLayerNormForMaskedLM(hf.RobertaPreLayerNormConfig(**SMALL, intermediate_size=64, pad_token_id=1))


KINDS = ["llama", "llama, grouped, tied, rescaled", "mistral", "qwen2", "gpt_neo", "bert", "bert without head", "roberta", "roberta-prelayernorm"]


@oracle
@pytest.mark.parametrize("kind", KINDS)
def test_logits_equal_those_of_transformers(kind):
    from shared.lms.checkpoints import convert

    torch.manual_seed(0)
    theirs = their_model(kind).eval()
    with torch.no_grad():  # weights so large that every term, biases and norms included, is felt
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    ids = torch.randint(2, 60, (3, 19))
    mask = (torch.arange(19) < torch.tensor([19, 12, 7])[:, None]).long()
    config, weights = convert(theirs)
    ours = Transformer(config)
    ours.load_state_dict(weights)
    headless = kind == "bert without head"
    with torch.no_grad():
        found = theirs(ids, attention_mask=mask)
        expected = (found.last_hidden_state if headless else found.logits).numpy()
        in_torch = (ours.last_hidden_state if headless else ours)(ids, mask).numpy()
    seen = mask.numpy() == 1
    np.testing.assert_allclose(in_torch[seen], expected[seen], atol=1e-4)
    if kind in ("llama, grouped, tied, rescaled", "qwen2", "bert"):  # test_lms_model holds JAX against torch for all shapes
        params = nest({name: jnp.asarray(value.numpy()) for name, value in weights.items()})
        logits = jax.jit(jax_model.logits, static_argnames="config", compiler_options={"xla_backend_optimization_level": 0})
        in_jax = logits(params, config, jnp.asarray(ids.numpy()), jnp.asarray(seen))
        np.testing.assert_allclose(in_jax[seen], expected[seen], atol=1e-4)


@oracle
def test_a_checkpoint_that_does_not_fit_is_refused():
    import transformers as hf

    from shared.lms.checkpoints import convert

    model = their_model("llama")
    model.model.layers[0].self_attn.surprise = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match="surprise"):
        convert(model)
    with pytest.raises(ValueError, match="no conversion"):
        convert(
            hf.OPTModel(
                hf.OPTConfig(
                    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=20, ffn_dim=16, max_position_embeddings=8, word_embed_proj_dim=16
                )
            )
        )


@oracle
def test_a_checkpoint_on_disk_loads_by_its_path_into_both_frameworks(tmp_path):
    import transformers as hf

    from shared.lms.loading import load_jax, load_torch
    from shared.lms.tokenization import load_tokenizer

    config = hf.LlamaConfig(**(SMALL | {"vocab_size": 2048}), intermediate_size=88, num_key_value_heads=2)
    theirs = hf.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path)
    wrapped = hf.PreTrainedTokenizerFast(tokenizer_object=load_tokenizer("en2k").inner, eos_token="<|eos|>", pad_token="<|pad|>")
    wrapped.save_pretrained(tmp_path)
    in_torch, in_jax = load_torch(str(tmp_path)), load_jax(str(tmp_path))
    assert (in_jax.tokenizer.eos, in_jax.tokenizer.pad, in_jax.tokenizer.cls) == (2, 0, -1)
    ids = in_torch.tokenizer.encode("the plot is thin .")
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits.numpy()
        np.testing.assert_allclose(in_torch.module(torch.tensor([ids])), expected, atol=1e-4)
    logits = jax.jit(jax_model.logits, static_argnames="config", compiler_options={"xla_backend_optimization_level": 0})
    np.testing.assert_allclose(logits(in_jax.params, in_jax.config, jnp.asarray([ids])), expected, atol=1e-4)
