"""Small language models: a decoder and an encoder in JAX and in torch over one layout of weights, their tokenizers, corpora, training, scoring and sampling."""
