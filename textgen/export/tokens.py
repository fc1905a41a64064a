"""A tokenizer, as `text.js` reads it."""

from typing import Any

from textgen.text.byte_level import BYTES
from textgen.text.subword import SubwordTokenizer
from textgen.text.tokenizer import Tokenizer
from textgen.text.utf8 import token_of


def tokens_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """Returns the configuration of a tokenizer for the page.

    It is that of `get_config`. But the tokens of a unigram model are `tokens`, without
    the bytes, each a str with one character from U+0000 to U+00FF for each byte.
    """
    config = tokenizer.get_config()
    if isinstance(tokenizer, SubwordTokenizer) and tokenizer.model == "unigram":
        names = config.pop("symbols")
        config["tokens"] = [token_of(name).decode("latin-1") for name in names]
        assert len(config["scores"]) == len(BYTES) + len(names)
    return config
