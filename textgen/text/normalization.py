"""Lower case and Unicode normalization of a text that comes in pieces."""

import reprlib
import unicodedata
from collections.abc import Iterable, Iterator

from textgen.messages import printable

FORMS = ("nfc", "nfkc")  # of the Unicode Standard, Annex 15


def normalized(
    pieces: Iterable[str], lowercase: bool = False, form: str | None = None
) -> Iterator[str]:
    """Yields a text in lower case, or in a normalization form, or both.

    The text is the same wherever it was cut into pieces.

    Args:
        pieces: Iterable of str. A text.
        lowercase: bool. Defaults to `False`.
        form: `"nfc"` (composed characters), `"nfkc"` (composed characters, and ordinary
            ones in place of compatibility characters, such as full-width letters), or
            `None` for none of them. Defaults to `None`.

    Raises:
        ValueError: `form` is something else.
    """
    check_form(form)
    if not lowercase and form is None:
        yield from pieces
        return
    held: list[str] = []
    for piece in pieces:
        # No character before a space or newline depends on what comes after it. But a
        # letter depends on its neighbours: an accent that follows, or the end of a word
        # after a Greek sigma.
        cut = max(piece.rfind(" "), piece.rfind("\n"))
        if cut < 0:
            held.append(piece)
            continue
        yield _converted("".join([*held, piece[:cut]]), lowercase, form)
        held = [piece[cut:]]
    yield _converted("".join(held), lowercase, form)


def check_form(form: str | None) -> None:
    """Raises ValueError if `form` is not a normalization form of this module."""
    if form is not None and form not in FORMS:
        shown = printable(reprlib.repr(form), 60)
        raise ValueError(f"normalization={shown} must be {' or '.join(FORMS)}.")


def _converted(text: str, lowercase: bool, form: str | None) -> str:
    if form is not None:
        text = unicodedata.normalize("NFC" if form == "nfc" else "NFKC", text)
    return text.lower() if lowercase else text
