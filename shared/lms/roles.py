"""The special tokens. By themselves, so that a loss which leaves them out does not depend on tokenizer and weights files."""

ROLES = ("pad", "bos", "eos", "unk", "mask", "sep", "cls", "m1", "m2", "m3", "s0", "s1", "s2", "s3", "s4", "s5")
"""The special tokens, ids 0-15; m1-m3 are for prompts' own marks, s0-s5 are spare. Written <|pad|> and so on, which no text contains by chance."""
