"""`textgen convert`."""

import argparse
import shlex
import sys
import warnings
from typing import Any

from textgen.cli import common, options, writing
from textgen.messages import printable
from textgen.quiet import import_keras
from textgen.text.levels import LEVELS


def add_convert(commands: Any) -> None:
    """Adds the command `convert` to the parser."""
    parser = commands.add_parser(
        "convert",
        help="convert a Keras 2 model (.h5) to a .keras file",
        usage="%(prog)s OLD.h5 NEW.keras --corpus CORPUS [options]",
        description="Convert a model that Keras 2 saved as .h5 to a .keras file, which "
        "the other commands read. The old file has no vocabulary, so the text that the "
        "model was trained on is needed.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_convert, parser=parser)
    add = parser.add_argument
    add("model", metavar="OLD.h5", help="the file that Keras 2 wrote with model.save")
    add("output", metavar="NEW.keras", help="the file to write")
    add("--overwrite", action="store_true", help="replace an existing file")
    add(
        "--corpus",
        required=True,
        metavar="CORPUS",
        help=f"the text that the model was trained on: {options.CORPUS}; --encoding, "
        "--lowercase and --level must be as in that training",
    )
    options.add_text(parser, kinds=LEVELS)


def _convert(arguments: argparse.Namespace) -> None:
    output = common.output_path(arguments, "")
    with writing.keyboard_interrupts():  # a download ends in order
        vocabulary: Any = common.prepared_corpus(arguments).tokenizer
    import_keras()
    from textgen.models import legacy

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        model = legacy.convert(arguments.model, vocabulary)
    for warning in caught:
        message = printable(warning.message, options.MESSAGE_LIMIT)
        print(f"textgen convert: warning: {message}", file=sys.stderr)
    model.notes = common.corpus_notes(arguments)
    with writing.keyboard_interrupts():
        model.save(output)
    more = shlex.join(["textgen", "generate", str(output)])
    more = printable(more, options.MESSAGE_LIMIT)
    print(f"Saved {printable(output)}. To generate text:\n  {more}")
