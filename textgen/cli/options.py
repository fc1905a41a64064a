"""Options that several commands share, their checks, and the parser."""

import argparse
import difflib
import math
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from textgen.decoding.defaults import MAX_NEW_TOKENS, TEMPERATURE, TOKENS_PER_LINE
from textgen.messages import printable
from textgen.text.normalization import FORMS

MESSAGE_LIMIT = 1000  # characters of an error message

MAX_INTEGER = 2**31 - 1  # TensorFlow counts in 32 bits in several places

# Larger values would fill the memory, and take weeks.
MAXIMUMS = {
    "max_new_tokens": 10**8,
    "max_lines": 10**6,
    "count": 10**9,
    "num_beams": 10**4,
}

TOKEN = (
    "A token is a character, or what --level said in the training: a word (then each "
    "space and punctuation mark is a token too), a byte, or a part of a word."
)

CORPUS = (
    "a text file (also .gz, .bz2 or .xz), a folder or a .zip file of text files, a "
    "pattern of file names in quotes ('poems/*.txt'), a corpus name (see `textgen "
    "list`), or - for standard input"
)


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
    add(
        "--weights",
        type=float,
        nargs="+",
        metavar="W",
        help="weights of the blended models in the average, one per model (default: "
        "equal weights)",
    )


def add_corpora(parser: argparse.ArgumentParser) -> None:
    """Adds the corpora."""
    parser.add_argument(
        "corpus",
        nargs="+",
        metavar="CORPUS",
        help=f"{CORPUS}; several are joined in the order given",
    )


_LEVELS = {
    "character": "a character",
    "word": "a word, where each space and punctuation mark is a token too",
    "byte": "a byte of UTF-8, so that nothing is ever unknown",
    "bpe": "a part of a word, learned by byte-pair encoding (8,000 tokens, or "
    "--vocabulary-size)",
    "unigram": "a part of a word, learned as a unigram model",
}


def add_text(parser: Any, kinds: Sequence[str] = tuple(_LEVELS)) -> None:
    """Adds how a text is read."""
    add = parser.add_argument
    add_encoding(parser)
    add(
        "--level",
        choices=kinds,
        default="character",
        help=f"what a token is: {'; '.join(_LEVELS[kind] for kind in kinds)}",
    )


# Of `add_text` and `add_vocabulary`.
TEXT_MINIMUMS = {"vocabulary_size": 1, "min_count": 1}


def add_vocabulary(parser: Any) -> None:
    """Adds which tokens of a text are in the vocabulary."""
    add = parser.add_argument
    add(
        "--vocabulary-size",
        type=int,
        metavar="N",
        help="size of the vocabulary: it has the most frequent tokens and \ufffd, "
        "which replaces all others (default: all tokens of the text, without \ufffd)",
    )
    add(
        "--min-count",
        type=int,
        default=1,
        metavar="N",
        help="tokens that occur less often than N times become \ufffd",
    )


def add_encoding(parser: Any) -> None:
    """Adds how the bytes of a text are read."""
    add = parser.add_argument
    add(
        "--encoding",
        default="utf-8",
        metavar="NAME",
        help="character encoding of the text files, such as latin-1",
    )
    add("--lowercase", action="store_true", help="convert the text to lower case")
    add(
        "--normalization",
        choices=FORMS,
        help="Unicode normalization form of the text: nfc composes letters and their "
        "accents; nfkc also replaces characters such as full-width letters by ordinary "
        "ones (default: none)",
    )
    add(
        "--field",
        metavar="NAME",
        help="read this field of CSV, TSV or JSON Lines files (.csv, .tsv, .jsonl, "
        ".ndjson), one line for each record; in a CSV file without names, the number "
        "of a column",
    )
    add(
        "--label-field",
        action="append",
        metavar="NAME",
        help="read the labels of the lines from this field, such as their author, for "
        "`textgen generate --label`; can be repeated",
    )
    add(
        "--replace-invalid",
        action="store_true",
        help="replace bytes that are not valid in the --encoding by \ufffd (default: "
        "they are an error)",
    )
    add(
        "--keep-line-ends",
        action="store_true",
        help=r"keep \r\n and \r (default: they become \n)",
    )


def add_unknown(parser: argparse.ArgumentParser, where: str) -> None:
    """Adds the policy for unknown symbols."""
    parser.add_argument(
        "--unknown",
        metavar="S",
        help=f"what to do with symbols of the {where} that are not in the model's "
        "vocabulary: error reports them, skip leaves them out, and any other S is a "
        "symbol of the vocabulary that replaces them (default: as in the "
        "training: error, or \ufffd with --vocabulary-size)",
    )


def add_writing(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `generate` and `complete`."""
    add = parser.add_argument
    add(
        "--temperature",
        type=float,
        nargs="+",
        default=[TEMPERATURE],
        metavar="T",
        help="sampling temperature: lower values give more predictable text, higher "
        "values more varied text, and 0 always takes the most probable token; several "
        "values are used in turn, one per token",
    )
    add(
        "--max-new-tokens",
        type=int,
        metavar="N",
        help=f"generate at most N tokens (default: {MAX_NEW_TOKENS}, or "
        f"{TOKENS_PER_LINE} per line of --max-lines if that is more)",
    )
    add(
        "--max-lines",
        type=int,
        metavar="N",
        help="stop after N lines; blank lines do not count",
    )
    add(
        "--seed",
        type=int,
        metavar="N",
        help="random seed; the same seed gives the same text (default: random)",
    )
    add(
        "--stop",
        nargs="+",
        metavar="TEXT",
        help="end the text before the first of these strings (default: the end "
        "of the line for a model of single lines, unless --max-lines is given)",
    )
    add("--top-k", type=int, metavar="K", help="sample from the K most probable tokens")
    add(
        "--label",
        nargs="+",
        metavar="NAME",
        help="labels of the text, such as its author, for a model that was trained "
        "with --label-field (default: none)",
    )
    add_unknown(parser, "prompt")


def check_minimums(
    arguments: argparse.Namespace, minimums: Mapping[str, float]
) -> None:
    """Raises ValueError for an option that is too small, too large, infinite or NaN.

    Args:
        arguments: The parsed arguments.
        minimums: Minimum of each option, by the name of its attribute. The maximum of
            integers is in `MAXIMUMS`, or `MAX_INTEGER`; a seed has none.
    """
    for name, minimum in minimums.items():
        values = getattr(arguments, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and not minimum <= value < math.inf:
                finite = " and finite" if isinstance(value, float) else ""
                raise ValueError(
                    f"{option_name(name)} {value} must be at least {minimum}{finite}."
                )
            most = math.inf if name == "seed" else MAXIMUMS.get(name, MAX_INTEGER)
            if isinstance(value, int) and value > most:
                raise ValueError(f"{option_name(name)} {value} must be at most {most}.")


class HelpFormatter(argparse.HelpFormatter):
    """Shows each default that is a value, and keeps the line breaks of examples."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if default is None or default is False or default in ("", argparse.SUPPRESS):
            return action.help
        values = default if isinstance(default, list) else [default]
        return f"{action.help} (default: {' '.join(map(str, values))})"

    # argparse would break lines inside the names of options.

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines: list[str] = []
        for each in text.split("\n\n"):
            if lines:
                lines.append("")
            example = each.startswith("  ")
            lines += each.split("\n") if example else self._split_lines(each, width)
        return "\n".join(indent + line if line else "" for line in lines)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Prints the message in one line, and exits with 2."""
        line = printable(message, MESSAGE_LIMIT)
        self.exit(2, f"{self.prog}: error: {line} (see {self.prog} --help)\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse ignores that standard output cannot be written.
        print(message, end="", file=file or sys.stderr)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        # Python 3.11 and 3.12 take the value of `--prompt=--` for the end of options.
        if action.option_strings and arg_strings == ["--"]:
            value = self._get_value(action, "--")
            self._check_value(action, value)
            return value if action.nargs is None else [value]
        return super()._get_values(action, arg_strings)

    def refuse(self, extra: list[str]) -> NoReturn:
        """Exits with an error about arguments that the command does not have."""
        name = extra[0].partition("=")[0]
        if not name.startswith("-"):
            self.error(
                f"one argument too many: {name}. A name with spaces needs quotes; "
                "several corpora of `textgen train` must follow each other"
            )
        known = [each for each in self._option_string_actions if each.startswith("--")]
        near = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        self.error(f"there is no option {name}{hint}")

    def name_options(self, message: str) -> str:
        """Replaces Python arguments in a message by the options of this command.

        `top_k=0` becomes `--top-k 0`. A name without a value is replaced only if it has
        an underscore, since others are ordinary words too. Names in quotes or in paths
        are kept.
        """
        names = "|".join(
            option.removeprefix("--").replace("-", "_")
            for option in self._option_string_actions
            if option.startswith("--")
        )

        def as_option(match: re.Match[str]) -> str:
            name, items, word = match.groups()
            if "=" in match[0]:
                return (
                    f"{option_name(name)} {(items or '').replace(',', '')}{word or ''}"
                )
            return option_name(name) if "_" in name else match[0]

        # After "=": a list, a word in quotes, or any other value, which is kept.
        value = r"=(?:\[([^\]]*)\]|'([^'\s]+)')?"
        pattern = rf"(?<![\w'\"/\\.-])({names})(?:{value}|(?![\w=/'\"\\-]|\.\w))"
        return re.sub(pattern, as_option, message)


def option_name(name: str) -> str:
    """Returns the option of an attribute: `--top-k` of `top_k`."""
    return "--" + name.replace("_", "-")
