"""Arguments that several commands share, and the parser."""

import argparse
import difflib
from typing import NoReturn


def add_models(parser: argparse.ArgumentParser) -> None:
    """Adds what `_load` needs."""
    add = parser.add_argument
    add(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a .keras file, or a name that `textgen list` shows; several are blended",
    )
    add("--weights", type=float, nargs="+", help="shares of blended models")


def add_writing(parser: argparse.ArgumentParser) -> None:
    """Adds what every way of writing takes."""
    add = parser.add_argument
    add(
        "--temperature",
        type=float,
        nargs="+",
        default=[0.7],
        help="0 is the most probable symbol; several take turns",
    )
    add(
        "--max-new-tokens",
        type=int,
        help="symbols to generate (default: 400; 100 a line with --max-lines)",
    )
    add(
        "--max-lines",
        type=int,
        help="stop after this number of lines; blank ones do not count",
    )
    add("--seed", type=int, help="same seed, same text (default: a new text)")
    add("--unknown", help="for unknown prompt symbols: error, skip, or a stand-in")


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
