"""All tokenizers, by the level in their configuration, and how to learn one."""

from collections.abc import Iterable
from typing import Any

from textgen.text.byte_level import FORM, ByteTokenizer
from textgen.text.levels import LEVELS, quoted
from textgen.text.subword import MODELS, SubwordTokenizer
from textgen.text.tokenizer import Tokenizer
from textgen.text.vocabulary import Vocabulary

# A configuration names its level, and the level determines the class.
TOKENIZERS: dict[str, type[Tokenizer]] = {
    **dict.fromkeys(LEVELS, Vocabulary),
    ByteTokenizer.level: ByteTokenizer,
    SubwordTokenizer.level: SubwordTokenizer,
}

BYTE_LEVELS = (ByteTokenizer.level, SubwordTokenizer.level)  # nothing is unknown

# What `learn` can learn: the levels of `textgen train --level`.
KINDS = (*LEVELS, ByteTokenizer.level, *MODELS)


def check_tokenizer(tokenizer: Any) -> None:
    """Raises ValueError if this is not a tokenizer that a model file can contain."""
    if not isinstance(tokenizer, tuple(set(TOKENIZERS.values()))):
        raise ValueError(
            f"vocabulary={tokenizer!r} must be a textgen.Vocabulary, ByteTokenizer or "
            "SubwordTokenizer."
        )


def from_config(config: Any) -> Tokenizer:
    """Builds the tokenizer that `Tokenizer.get_config` describes.

    Args:
        config: dict. It may come from a file that nobody has checked.

    Raises:
        ValueError: This is not the configuration of a tokenizer. The message is one
            line.
    """
    level = config.get("level") if type(config) is dict else None
    if type(level) is not str or level not in TOKENIZERS:
        raise ValueError(
            f"{quoted(config)} is not a tokenizer: its level must be one of "
            f"{', '.join(TOKENIZERS)}."
        )
    return TOKENIZERS[level].from_config(config)


def same_ids(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether two tokenizers give every text the same ids; those of prompts may differ.

    They are then equal, or differ in `lowercase` or `normalization` only.
    """
    configs = [each.get_config() for each in (one, other)]
    for config in configs:
        for name in FORM:
            config.pop(name, None)
    return configs[0] == configs[1]


def learn(
    kind: str,
    text: str | Iterable[str],
    size: int | None = None,
    unknown: str = "error",
    lowercase: bool = False,
    normalization: str | None = None,
) -> Tokenizer:
    """Returns the tokenizer of a text.

    Args:
        kind: `"character"`, `"word"`, `"byte"`, `"bpe"` or `"unigram"`.
        text: str, or iterable of str, several texts.
        size: int or `None`. Maximum number of tokens. Defaults to `None`: all
            characters or words of the text, or 8,000 subwords. Bytes have no size.
        unknown: str. The policy of a `Vocabulary`; the others have no use for it.
            Defaults to `"error"`.
        lowercase: bool. Whether the text is in lower case, for the prompts of a model
            of bytes or subwords: see `ByteTokenizer`. Defaults to `False`.
        normalization: str or `None`. The Unicode normalization form of the text, also
            for these prompts. Defaults to `None`.

    Raises:
        ValueError: An argument is out of its range, or the text is empty.
        ImportError: Subwords need the library tokenizers, which is not installed.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={quoted(kind)} must be one of {', '.join(KINDS)}.")
    if kind in LEVELS:
        text = text if isinstance(text, str) else "".join(text)
        return Vocabulary.from_text(text, kind, size, unknown)
    if kind == ByteTokenizer.level:
        if size is not None:
            raise ValueError(f"size={size}: bytes have no size, omit it.")
        return ByteTokenizer(lowercase, normalization)
    given: Any = {"lowercase": lowercase, "normalization": normalization}
    if size is not None:
        given["size"] = size
    return SubwordTokenizer.train(text, model=kind, **given)
