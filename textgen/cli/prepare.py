"""`textgen prepare`."""

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

import textgen
from textgen.cli import common, options, writing
from textgen.cli.progress import Progress
from textgen.messages import printable
from textgen.text import sources


def add_prepare(commands: Any) -> None:
    """Adds the command `prepare` to the parser."""
    parser = commands.add_parser(
        "prepare",
        help="convert a large text to a file of ids for `train`",
        usage="%(prog)s CORPUS [CORPUS ...] --output FILE.ids [options]",
        description="Convert a text of any size to ids, with little memory, in a file "
        "that `textgen train` and `textgen evaluate` take in place of the text. For a "
        "text of more than 64 MB, `train` does this itself, and keeps the file in the "
        "cache folder.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_prepare, parser=parser)
    options.add_corpora(parser)
    add = parser.add_argument
    add(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="the file to write; its name ends in .ids",
    )
    add("--overwrite", action="store_true", help="replace an existing file")
    options.add_text(parser)
    options.add_vocabulary(parser)


def _prepare(arguments: argparse.Namespace) -> None:
    output = Path(arguments.output)
    if output.suffix != ".ids":
        raise ValueError(f"--output {output} must end in .ids.")
    common.check_new_file(output, "--output", arguments.overwrite)
    options.check_minimums(arguments, options.TEXT_MINIMUMS)
    with (
        writing.keyboard_interrupts(),
        common.short_warnings(arguments.parser),
        Progress(f"Reading {sources.shortened(arguments.corpus)}") as progress,
    ):
        corpus = textgen.prepare(
            arguments.corpus,
            os.fspath(output),
            progress=progress,
            **common.text_options(arguments),
            **common.vocabulary_options(arguments),
        )
    print(
        f"{corpus.characters:,} characters, {len(corpus):,} tokens, a vocabulary of "
        f"{len(corpus.tokenizer):,} tokens"
    )
    common.warn_replaced(corpus, arguments)
    more = printable(shlex.join(["textgen", "train", str(output)]))
    print(f"Saved {printable(output)}. To train a model:\n  {more}")
