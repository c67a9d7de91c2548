"""Substitution ciphers move what they shall, nothing else, and can be undone."""

from __future__ import annotations

import numpy as np

from shared.data.ciphers import encipher, inverse, random_cipher


def test_a_cipher_permutes_its_symbols_and_leaves_the_others():
    cipher = random_cipher(np.random.default_rng(0), 10, symbols=[2, 5, 7, 8])
    assert sorted(cipher[[2, 5, 7, 8]]) == [2, 5, 7, 8]
    rest = [0, 1, 3, 4, 6, 9]
    np.testing.assert_array_equal(cipher[rest], rest)


def test_every_permutation_is_equally_likely():
    rng = np.random.default_rng(0)
    drawn, counts = np.unique([random_cipher(rng, 3) for _ in range(6000)], axis=0, return_counts=True)
    assert len(drawn) == 6
    assert np.abs(counts - 1000).max() < 130  # 4.5 standard deviations


def test_enciphering_with_one_cipher_or_one_per_text_and_undoing_it():
    rng = np.random.default_rng(0)
    ids = rng.integers(12, size=(3, 20))
    ciphers = np.stack([random_cipher(rng, 12) for _ in range(3)])
    secret = encipher(ciphers, ids)
    for row, cipher, plain in zip(secret, ciphers, ids, strict=True):
        np.testing.assert_array_equal(row, [cipher[symbol] for symbol in plain])
        np.testing.assert_array_equal(row, encipher(cipher, plain))
    assert (secret != ids).any()
    np.testing.assert_array_equal(encipher(inverse(ciphers), secret), ids)
