"""A shuffled order that is computed index by index, and never stored."""

import math

import numpy as np


def permute(indices: np.ndarray, size: int, key: tuple[int, int]) -> np.ndarray:
    """Maps indices through a pseudo-random permutation of `range(size)`.

    The permutation is a generalised Feistel network with cycle walking (Black and
    Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002). It computes each
    shuffled index separately, so that the permutation is never stored in memory.

    Args:
        indices: integer array, each in `range(size)`.
        size: int. Number of items in the permutation.
        key: `(seed, epoch)`. The permutation depends on these two numbers.

    Returns:
        int64 array of the shape of `indices`.
    """
    rows = math.isqrt(size - 1) + 1
    columns = -(-size // rows)
    round_keys = np.random.default_rng(key).integers(0, 2**63, 6, np.uint64)
    result = np.array(indices, np.uint64)
    outside = np.ones(result.shape, bool)
    while outside.any():
        left, right = np.divmod(result[outside], np.uint64(columns))
        for round_key in round_keys:
            # Each round adds a hash of one half to the other half and swaps them.
            left = (left + _hash(right ^ round_key) % np.uint64(rows)) % np.uint64(rows)
            left, right = right, left
            rows, columns = columns, rows
        result[outside] = left * np.uint64(columns) + right
        outside = result >= size
    return result.astype(np.int64)


def _hash(values: np.ndarray) -> np.ndarray:
    """Mixes uint64 values: the finaliser of SplitMix64 (Steele et al., OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
