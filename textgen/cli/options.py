"""Arguments that several commands share, and the parser."""

import argparse
import difflib
from typing import Any, NoReturn


def add_models(parser: argparse.ArgumentParser) -> None:
    """Adds the models and their weights."""
    add = parser.add_argument
    add(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a .keras file, or the name of a pretrained model (see `textgen list`); "
        "several models are blended: their probabilities are averaged",
    )
    add("--weights", type=float, nargs="+", help="weight of each blended model")


def add_text(parser: Any) -> None:
    """Adds how a text is read."""
    add = parser.add_argument
    add("--encoding", default="utf-8", help="text encoding of the file")
    add("--lowercase", action="store_true", help="convert the text to lower case")
    add(
        "--level",
        choices=("character", "word"),
        default="character",
        help="what a symbol of the vocabulary is",
    )


def add_writing(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `generate` and `complete`."""
    add = parser.add_argument
    add(
        "--temperature",
        type=float,
        nargs="+",
        default=[0.7],
        help="sampling temperature: lower is more predictable, 0 always takes the most "
        "probable symbol; several are used in turn, one for each symbol",
    )
    add(
        "--max-new-tokens",
        type=int,
        help="maximum number of symbols to generate (default: 400, or 100 for each of "
        "--max-lines)",
    )
    add(
        "--max-lines",
        type=int,
        help="stop after this number of lines; blank lines do not count",
    )
    add(
        "--seed",
        type=int,
        help="random seed; the same seed gives the same text (default: random)",
    )
    add(
        "--unknown",
        help="what to do with symbols that the model does not know: error, skip, or a "
        "symbol that replaces them",
    )


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default in (None, False):
            return action.help
        return super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Prints the message in one line, and exits with 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")

    def refuse(self, extra: list[str]) -> NoReturn:
        """Ends the program because of arguments that it does not have."""
        name = extra[0].partition("=")[0]
        if not name.startswith("-"):
            self.error(
                f"one argument too many: {name}. A name with spaces needs quotes; "
                "several texts are joined by cat a.txt b.txt | textgen ... -"
            )
        known = [each for each in self._option_string_actions if each.startswith("--")]
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        self.error(f"there is no option {name}{hint}")
