"""Where the tokens of subwords may end: the words of a text, with what precedes them.

A token never crosses the border of two words, so a text is encoded word by word.

The rules look at one character after a word, and no word is long. Therefore all words
but the last are certain, whatever text follows, and a text can be split in pieces: a
text without spaces, such as Chinese or base64, is not held back as a whole either.
"""

import re

from textgen.text.levels import matches

_LONGEST = 32  # characters of a run of letters, signs or spaces

MAX_BYTES = 4 * (_LONGEST + 1)  # of a word


# One word; the joined matches are the text. U+0301 stands for all marks.
#
# A newline is alone, so that it is one token wherever it is, and ends a line. A word
# begins with a letter, and takes one character before it, such as a space, a quote or
# the apostrophe of "don't". Digits are in groups of three, which take a space, as other
# signs do. A run of spaces leaves its last one to the word after it.
_WORD = re.compile(
    rf"\n|[^\w\n]?[^\W\d][\w\u0301]{{0,{_LONGEST - 1}}}| ?\d{{1,3}}"
    rf"| ?[^\w\s]{{1,{_LONGEST}}}|[^\S\n]{{1,{_LONGEST}}}(?!\S)|\s"
)


def words_of(text: str) -> list[str]:
    """Returns the words of a text; joined, they are the text."""
    return list(matches(_WORD, text))


class WordSplitter:
    """Splits a text that comes in pieces into the words that `words_of` returns."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> list[str]:
        """Takes the next piece; returns the words that are certain."""
        words = words_of(self._held + text)
        self._held = words.pop() if words else ""
        return words

    def flush(self) -> list[str]:
        """Returns the last word."""
        held, self._held = self._held, ""
        return [held] if held else []
