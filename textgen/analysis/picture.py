"""A text as a picture: monospaced, and coloured by one number for each character.

This module needs matplotlib, the extra `plot`.
"""

import io
import logging
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from textgen.analysis.surprise_page import Channel

COLUMNS, MAX_LINES = 80, 64  # of a picture, at most

_LEAST_COLUMNS = 48

_HEIGHT = 1.7  # of a line, in columns: two columns are a wide character

_COLUMN = 0.0753  # inches

# Tried first for characters that the monospaced font of matplotlib does not have.
_FONTS = ("Mono CJK", "CJK", "Han Sans", "Hei", "PingFang", "Gothic", "Unifont", "Noto")

_MOST_FONTS = 300  # that are opened

_COLOURS = ((96, 165, 235), (246, 150, 62))  # of negative and positive numbers


def layout(pieces: Sequence[str]) -> tuple[list[tuple[str, int, int, int, int]], int]:
    """Returns where each character of a text is, until the last line of a picture.

    A line breaks at newlines, and after 80 columns. Wide characters, such as Chinese
    ones, take two columns, and combining ones none.

    Args:
        pieces: Sequence of str. The text.

    Returns:
        list of tuples `(character, piece, line, column, width)`, and the number of
        lines, at most 64.
    """
    places: list[tuple[str, int, int, int, int]] = []
    line = column = 0
    for index, piece in enumerate(pieces):
        for each in piece:
            width = _width(each)
            if column + width > COLUMNS and each != "\n":
                line, column = line + 1, 0
            if line >= MAX_LINES:
                return places, MAX_LINES
            places.append((each, index, line, column, width))
            column += width
            if each == "\n":
                line, column = line + 1, 0
    return places, min(MAX_LINES, line + (column > 0))


def picture(pieces: Sequence[str], channel: Channel, title: str) -> tuple[bytes, str]:
    """Returns a text as a picture.

    Args:
        pieces: Sequence of str. The text.
        channel: `Channel`. A number for each piece.
        title: str.

    Returns:
        bytes of a PNG file, and a str of the characters that no installed font has.

    Raises:
        ImportError: matplotlib is not installed.
    """
    check_matplotlib()
    level = logging.getLogger("matplotlib").level
    logging.getLogger("matplotlib").setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _drawn(pieces, channel, title)
    finally:
        logging.getLogger("matplotlib").setLevel(level)


def check_matplotlib() -> None:
    """Raises ImportError if matplotlib is not installed; the message says how to."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "A picture needs matplotlib: pip install 'keras-textgen[plot]'."
        ) from error


def _drawn(pieces: Sequence[str], channel: Channel, title: str) -> tuple[bytes, str]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image  # a dependency of matplotlib

    places, lines = layout(pieces)
    longest = max((column + width for *_, column, width in places), default=0)
    columns, rows = max(_LEAST_COLUMNS, longest), lines + 8
    size = ((columns + 6) * _COLUMN, rows * _HEIGHT * _COLUMN)
    figure = Figure(size, dpi=150)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    fonts = _Fonts()
    text = "".join(each for each, *_ in places)
    missing = fonts.without_font(text + title + channel.name)
    _add_line(axes, _shortened(title, columns), 0, -1.6, fonts)
    _add_boxes(axes, places, channel)
    _add_glyphs(axes, places, fonts)
    _add_legend(axes, channel, lines + 1, columns, fonts)
    axes.set_xlim(-3, columns + 3)
    axes.set_ylim((rows - 3) * _HEIGHT, -3 * _HEIGHT)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba()), "RGBA").convert("RGB")
    file = io.BytesIO()
    # A palette takes a third of the bytes.
    image.quantize(256).save(file, "PNG", optimize=True)
    return file.getvalue(), missing


def _add_boxes(axes: Any, places: Sequence[tuple], channel: Channel) -> None:
    from matplotlib.collections import PolyCollection

    corners, colours = [], []
    for _, piece, line, column, width in places:
        if not width or not (share := channel.values[piece] / channel.limit):
            continue
        x, y, right = column, line * _HEIGHT, column + width
        corners.append([(x, y), (right, y), (right, y + _HEIGHT), (x, y + _HEIGHT)])
        colours.append(_colour(share))
    axes.add_collection(PolyCollection(corners, facecolors=colours, antialiased=False))


def _add_glyphs(axes: Any, places: Sequence[tuple], fonts: "_Fonts") -> None:
    rows: dict[int, list[tuple[str, float, float]]] = {}
    marks: dict[int, list[tuple[str, float, float]]] = {}
    for each, _, line, column, width in places:
        kind = marks if each == "\n" else rows
        shown = "↵" if each == "\n" else each
        at = column if width else column - 1
        kind.setdefault(line, []).append((shown, at, line * _HEIGHT))
    for kind, colour in ((rows, "#1c1b19"), (marks, "#a5a098")):
        for glyphs in kind.values():
            _add_patch(axes, glyphs, fonts, colour)


def _add_line(axes: Any, text: str, x: float, line: float, fonts: "_Fonts") -> None:
    """Draws a line of text."""
    glyphs, column = [], x
    for each in text:
        glyphs.append((each, column, line * _HEIGHT))
        column += _width(each)
    _add_patch(axes, glyphs, fonts, "#1c1b19")


def _add_patch(
    axes: Any, glyphs: Sequence[tuple[str, float, float]], fonts: "_Fonts", colour: str
) -> None:
    """Draws glyphs as one path. Each is at the left end and top of its box."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    paths = []
    for each, x, y in glyphs:
        if (path := fonts.glyph(each)) is not None:
            vertices = path.vertices * (1, -1) + (x, y + 0.72 * _HEIGHT)
            paths.append(Path(vertices, path.codes))
    if paths:
        whole = Path.make_compound_path(*paths)
        axes.add_patch(PathPatch(whole, facecolor=colour, linewidth=0))


def _add_legend(
    axes: Any, channel: Channel, line: int, columns: int, fonts: "_Fonts"
) -> None:
    """Draws the colours with their numbers, from a line on."""
    low = -channel.limit if channel.signed else 0
    shares = np.linspace(low, channel.limit, 121) / channel.limit
    colours = [[_colour(share) for share in shares]]
    top, right = (line + 1.4) * _HEIGHT, _LEAST_COLUMNS * 2 // 3
    axes.imshow(colours, extent=(0, right, top + 0.7 * _HEIGHT, top), aspect="auto")
    _add_line(axes, _shortened(f"bits: {channel.name}", columns), 0, line, fonts)
    last = f"{'+' if channel.signed else ''}{channel.limit:.1f}"
    labels = {0: f"{low:.1f}" if low else "0", right - len(last): last}
    for column, label in labels.items():
        _add_line(axes, label, column, line + 2.3, fonts)


def _shortened(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 1] + "…"


def _colour(share: float) -> tuple[float, ...]:
    """Returns a colour on white; NaN is grey."""
    if np.isnan(share):
        return (0.9, 0.9, 0.9)
    strong = np.array(_COLOURS[int(share > 0)]) / 255
    part = min(1.0, abs(float(share)))
    return tuple(1 + part * (strong - 1))


def _width(character: str) -> int:
    """Returns the columns of a character: 0, 1 or 2."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class _Fonts:
    """Glyphs as paths in columns, from the first installed font that has them."""

    def __init__(self) -> None:
        from matplotlib import font_manager

        mono = font_manager.FontProperties(family="DejaVu Sans Mono")
        self._open: list[tuple[Any, set[int]]] = []
        self._known: dict[str, Any] = {}
        self._add(font_manager.findfont(mono))

    def without_font(self, characters: str) -> str:
        """Returns the characters that no font has; opens the fonts that are needed."""
        needed = {each for each in characters if each.isprintable() and each != " "}
        missing = {each for each in needed if not self._has(each)}
        for path in self._ordered() if missing else []:
            charmap = self._add(path)
            found = {each for each in missing if ord(each) in charmap}
            if not found:
                self._open.pop()
            missing -= found
            if not missing:
                break
        return "".join(sorted(missing))

    def glyph(self, character: str) -> Any:
        """Returns a path whose unit is a column, or `None` for an empty glyph."""
        if character not in self._known:
            self._known[character] = self._path_of(character)
        return self._known[character]

    def _path_of(self, character: str) -> Any:
        from matplotlib.path import Path
        from matplotlib.textpath import text_to_path

        # A column of DejaVu Sans Mono is 0.602 of the font size.
        scale = 1 / 0.602 / text_to_path.FONT_SCALE
        for font, charmap in self._open:
            if ord(character) in charmap and character.isprintable():
                vertices, codes = text_to_path.get_text_path(font, character)
                if not len(vertices):  # a space
                    return None
                return Path(np.array(vertices) * scale, codes)
        return None

    def _has(self, character: str) -> bool:
        return any(ord(character) in charmap for _, charmap in self._open)

    def _add(self, path: str) -> set[int]:
        from matplotlib import font_manager, ft2font

        try:
            charmap = set(ft2font.FT2Font(path).get_charmap())
        except (OSError, RuntimeError):
            charmap = set()
        self._open.append((font_manager.FontProperties(fname=path), charmap))
        return charmap

    def _ordered(self) -> list[str]:
        """Returns the paths of the installed fonts, the likely ones first."""
        from matplotlib import font_manager

        def rank(entry: Any) -> tuple:
            known = [at for at, name in enumerate(_FONTS) if name in entry.name]
            usual = entry.style == "normal" and str(entry.weight) in ("400", "normal")
            return known[0] if known else len(_FONTS), not usual, entry.fname

        entries = sorted(font_manager.fontManager.ttflist, key=rank)
        return list(dict.fromkeys(each.fname for each in entries))[:_MOST_FONTS]
