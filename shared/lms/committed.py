"""The sha256 of every weights and tokenizer file of this package, written by the programs that make them.

It is code so that a paper's cached trials, which are keyed by the code that they import, are redone when a file changes.
"""

SHA256 = {
    "tokenizers/en2k.json": "ee320136424877b3c8e837f76afc3f677a29299bd4ec3a68eff36a6872a65d78",
    "tokenizers/en4k.json": "2ed14a83abaece2f49dc07cab2d217c2127a55dab66726b55a000b34b7a3d75f",
    "tokenizers/en8kw.json": "cc5ebd1b251b2ef1d8f989b8b84483a809c8a8f47114736127fbb702716fbacf",
    "tokenizers/py2k.json": "8dc3cbc32f8fb304cb8aa5d4a3f38b434c5796d2580a63b3fe19acd556c89761",
    "weights/dec-xs-0.safetensors": "739d6af0363a204da348d3d0bd85c664fbad8e89d16bc113e8558654e781ea52",
    "weights/dec-xs-1.safetensors": "655f0a10ff5e9ede4911e4f6408959410a73087080bd4a8686b946f41711a635",
    "weights/dec-xs-2.safetensors": "d324a53e7f5ce1b0b721725627b8eef281820bf7194ba6fbb511e5fa2f2e2609",
    "weights/enc-xs-0.safetensors": "267730bb861036dcbbb5c5d37469e858c3ac49b8a1fdc483e08bd5ccb770732b",
    "weights/enc-xs-1.safetensors": "dc7fa06d3e136069aa2e2dc4dfa03ab2da0a3b62673e93d3598a933d18ffb618",
    "weights/enc-xs-2.safetensors": "f614a456fa00cdf2f2f63fdec80c9745cf4b90b6404a2d38f98b57c18b5f6c2c",
}
