"""Filters of generated text: stop strings and complete user-perceived characters."""

import unicodedata
from collections.abc import Sequence


class StopFilter:
    """Returns text piece by piece, up to the first stop string.

    Text that may be the beginning of a stop string is held back until this is decided.

    Args:
        stop: Sequence of non-empty str.
        max_lines: int or `None`. The text also ends after this number of lines, before
            the newline. Blank lines do not count. Defaults to `None`, no limit.
        blank: bool. Whether the line that the text continues is blank so far. Defaults
            to `True`.
    """

    def __init__(
        self, stop: Sequence[str], max_lines: int | None = None, blank: bool = True
    ) -> None:
        self.stop = stop
        self.lines = max_lines
        self.stopped = False
        self._blank = blank
        self._held = ""

    def feed(self, text: str) -> str:
        """Takes the next piece of text; returns the text that can be shown."""
        text = self._held + text
        # The stop that is complete first decides: this does not depend on the pieces.
        found = [
            (at + len(stop), at) for stop in self.stop if (at := text.find(stop)) >= 0
        ]
        _, _, end = self._count(text)
        if end is not None:
            found.append((end + 1, end))
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)[1]]
        keep = max(
            (
                length
                for stop in self.stop
                for length in range(1, min(len(stop), len(text) + 1))
                if text.endswith(stop[:length])
            ),
            default=0,
        )
        self._held = text[len(text) - keep :]
        text = text[: len(text) - keep]
        self.lines, self._blank, _ = self._count(text)
        return text

    def _count(self, text: str) -> tuple[int | None, bool, int | None]:
        """Counts the lines of the next piece of text.

        Returns:
            The number of lines that are left, whether the last line is blank, and the
            position at which the last allowed line ends (`None` if it does not end).
        """
        lines, blank = self.lines, self._blank
        if lines is None:
            return None, blank, None
        for at, symbol in enumerate(text):
            if symbol != "\n":
                blank = blank and symbol.isspace()
                continue
            lines -= not blank
            blank = True
            if lines == 0:
                return 0, True, at
        return lines, blank, None

    def flush(self) -> str:
        """Returns the text that was held back; call it at the end of the text."""
        held, self._held = self._held, ""
        return held


class ClusterFilter:
    """Returns text piece by piece, in complete user-perceived characters.

    A character that may continue (a letter before an accent, half of a flag, a joined
    emoji) is held back until the next character shows that it is complete. The rules
    are those of Unicode Standard Annex 29, "Unicode Text Segmentation", as far as
    `unicodedata` supports them: marks, joiners, emoji modifiers, flags, Hangul, CR LF.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Takes the next piece of text; returns the text that can be shown."""
        text = self._held + text
        end = len(text) - 1
        while end > 0 and _continues(text, end):
            end -= 1
        end = max(end, 0)
        self._held = text[end:]
        return text[:end]

    def flush(self) -> str:
        """Returns the text that was held back; call it at the end of the text."""
        held, self._held = self._held, ""
        return held


def _continues(text: str, at: int) -> bool:
    """Returns whether the character at a position belongs to the cluster before it."""
    before, this = text[at - 1], text[at]
    if (before, this) == ("\r", "\n"):
        return True
    if before in "\r\n":
        return False
    if (
        unicodedata.category(this).startswith("M")
        or this in "\u200c\u200d"
        or "\U0001f3fb" <= this <= "\U0001f3ff"  # emoji modifiers
        or "\U000e0020" <= this <= "\U000e007f"  # tags, in some flags
    ):
        return True
    if before == "\u200d":
        return this >= "\u2190"  # all emoji come after this code point
    if _is_flag_half(before) and _is_flag_half(this):
        start = at
        while start > 0 and _is_flag_half(text[start - 1]):
            start -= 1
        return (at - start) % 2 == 1
    # Hangul: leading consonants, vowels and trailing consonants, in this order.
    leading, vowel = "\u1100" <= before <= "\u115f", "\u1160" <= before <= "\u11a7"
    trailing = "\u11a8" <= before <= "\u11ff"
    syllable = "\uac00" <= before <= "\ud7a3"
    if "\u1100" <= this <= "\u115f":
        return leading
    if "\u1160" <= this <= "\u11a7":
        return leading or vowel or (syllable and (ord(before) - 0xAC00) % 28 == 0)
    if "\u11a8" <= this <= "\u11ff":
        return vowel or trailing or syllable
    return leading and "\uac00" <= this <= "\ud7a3"


def _is_flag_half(symbol: str) -> bool:
    return "\U0001f1e6" <= symbol <= "\U0001f1ff"
