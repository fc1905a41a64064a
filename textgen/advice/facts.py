"""What a text looks like: running text, or lines that are texts of their own."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from textgen.text.tokenizer import Tokenizer

SAMPLE = 200_000  # characters of each of three parts of a long text

MIN_LINES = 20
LONG_LINE = 200  # characters: longer lines are read as running text

# Shares above which lines belong together.
BLANK = 0.02  # paragraphs and stanzas are separated by blank lines
CONTINUED = 0.1  # of lines that end with a comma or another sign that more follows
LOWER = (0.05, 0.98)  # of lines that begin with a lower-case letter: wrapped sentences
SPREAD = 0.15  # of lengths, relative to the mean: verse and wrapped text have less

_CONTINUING = ",;:-–—，、；："


@dataclasses.dataclass(frozen=True)
class TextFacts:
    """What a text looks like.

    Attributes:
        characters: int. Length of the text.
        lines: int. Number of lines that are not empty; in a long text, an estimate.
        median_line: int. Median length of these lines, in characters.
        longest_line: int. Length of the longest line that was seen, in characters.
        separate_lines: bool. Whether each line is a text of its own, such as a name.
        reason: str. Why, as the end of a sentence.
    """

    characters: int
    lines: int
    median_line: int
    longest_line: int
    separate_lines: bool
    reason: str


def look(text: str) -> TextFacts:
    """Looks at a text, or at three parts of a long one.

    Args:
        text: str.

    Returns:
        `TextFacts`. The decision about the lines is a rule of thumb: names, titles and
        headlines are separate lines; prose, plays and verse are running text.
    """
    parts = [text[part] for part in _parts(len(text))]
    return _look(parts, len(text))


def look_at_ids(
    ids: np.ndarray, tokenizer: Tokenizer, characters: int | None = None
) -> TextFacts:
    """Looks at the text of some ids, as `look` does.

    Args:
        ids: integer array of shape `(tokens,)`.
        tokenizer: `Tokenizer`.
        characters: int or `None`. Length of the text. Defaults to `None`: it is
            estimated.
    """
    pieces = [ids[part] for part in _parts(len(ids))]
    parts = [tokenizer.decode(piece) for piece in pieces]
    if characters is None:
        read = max(1, sum(map(len, pieces)))
        characters = round(sum(map(len, parts)) * len(ids) / read)
    return _look(parts, characters)


def _parts(length: int) -> list[slice]:
    """Returns which parts of a text to look at: all of it, or three parts."""
    if length <= 3 * SAMPLE:
        return [slice(0, length)]
    starts = (0, (length - SAMPLE) // 2, length - SAMPLE)
    return [slice(start, start + SAMPLE) for start in starts]


def _look(parts: Sequence[str], characters: int) -> TextFacts:
    """Looks at parts of a text of so many characters."""
    if parts[1:]:
        # The first and the last line of a part may be cut.
        parts = ["\n".join(part.split("\n")[1:-1]) for part in parts]
    read = sum(map(len, parts)) if parts[1:] else characters
    lines = [line for part in parts for line in part.rstrip("\n").split("\n")]
    kept = [line.strip() for line in lines if line.strip()]
    if not kept:
        return TextFacts(characters, 0, 0, 0, False, "it has no lines")
    lengths = np.array([len(line) for line in kept])
    reason = _running_text(kept, lengths, 1 - len(kept) / len(lines))
    return TextFacts(
        characters=characters,
        lines=round(len(kept) * characters / max(read, 1)),
        median_line=int(np.median(lengths)),
        longest_line=int(lengths.max()),
        separate_lines=reason is None,
        reason=reason or "its lines are short, of different lengths, and complete",
    )


def _running_text(
    lines: Sequence[str], lengths: np.ndarray, blank: float
) -> str | None:
    """Returns why lines are parts of a running text; `None` if they are not."""
    if len(lines) < MIN_LINES:
        return f"it has only {len(lines)} lines"
    if blank > BLANK:
        return "blank lines separate its paragraphs"
    if np.percentile(lengths, 99) > LONG_LINE:
        return "it has long lines"
    if np.mean([line[-1] in _CONTINUING for line in lines]) > CONTINUED:
        return "its lines end with commas"
    cased = [line[0] for line in lines if line[0].lower() != line[0].upper()]
    if cased and LOWER[0] < np.mean([each.islower() for each in cased]) < LOWER[1]:
        return "its sentences continue in the next line"
    if lengths.std() < SPREAD * lengths.mean():
        return "its lines have about the same length"
    return None
