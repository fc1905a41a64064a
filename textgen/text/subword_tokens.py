"""The tokens that the arguments of a `SubwordTokenizer` describe, and their checks."""

from collections.abc import Sequence
from typing import Any

from textgen.text.byte_level import BYTES
from textgen.text.levels import quoted
from textgen.text.pretokens import MAX_BYTES
from textgen.text.utf8 import token_of

MAX_SIZE = 1 << 18  # tokens, so that no file needs much more memory than its size


def checked_list(name: str, values: Any) -> Sequence:
    """Returns `values`; raises ValueError if it is not a list, or too long."""
    if not isinstance(values, list | tuple) or len(values) > MAX_SIZE:
        raise ValueError(
            f"{name}={quoted(values)} must be a list of at most {MAX_SIZE:,} values."
        )
    return values


def merged_tokens(merges: Sequence[Sequence[int]]) -> list[bytes]:
    """Returns the tokens that merges make, in the order of their ids."""
    tokens = list(BYTES)
    known, pairs = set(tokens), set()
    for pair in merges:
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not all(type(each) is int and 0 <= each < len(tokens) for each in pair)
            or tuple(pair) in pairs
        ):
            raise ValueError(
                f"merges has {quoted(pair)}: it must be two ids of tokens before it, "
                "and different from all other pairs."
            )
        pairs.add(tuple(pair))
        token = tokens[pair[0]] + tokens[pair[1]]
        _check_token(token)
        if token not in known:
            known.add(token)
            tokens.append(token)
    return tokens[len(BYTES) :]


def named_tokens(symbols: Sequence[str]) -> list[bytes]:
    """Returns the bytes of tokens from their symbols."""
    tokens = []
    for symbol in symbols:
        if type(symbol) is not str or len(symbol) > 6 * MAX_BYTES:
            raise ValueError(f"symbols has {quoted(symbol)}: it must be a short str.")
        tokens.append(token_of(symbol))
        _check_token(tokens[-1])
    if len(set(tokens)) < len(tokens):
        raise ValueError("symbols has the same token twice.")
    return tokens


def _check_token(token: bytes) -> None:
    if not 1 < len(token) <= MAX_BYTES or b"\n" in token:
        raise ValueError(
            f"The token {quoted(token)} must have 2 to {MAX_BYTES} bytes, and no "
            "newline."
        )


def check_scores(scores: list, count: int) -> None:
    """Raises ValueError if these are not the scores of so many tokens."""
    if len(scores) != count or not all(
        type(score) in (int, float) and -1e6 <= score <= 0 for score in scores
    ):
        raise ValueError(
            f"scores must be {count:,} numbers from -1,000,000 to 0, one for each "
            "token, bytes included."
        )
