"""`textgen generate` and `textgen complete`."""

import argparse
import contextlib
import itertools
import sys
import warnings
from collections.abc import Iterable
from typing import Any

from textgen.cli import common, completion, options
from textgen.text import corpora

SEPARATOR = "-" * 20  # between texts of several lines


def add_generate(commands: Any) -> None:
    """Adds the command `generate` to the parser."""
    parser = commands.add_parser(
        "generate",
        help="generate text with a trained model",
        description="Generate text with a trained model. A single text is printed "
        "while it is generated.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_generate, parser=parser)
    add = parser.add_argument
    options.add_models(parser)
    options.add_writing(parser)
    add("--prompt", default="", help="the beginning of the text")
    add(
        "--stop",
        nargs="+",
        metavar="TEXT",
        help=r"stop before any of these strings; \n is a newline",
    )
    add("--count", type=int, default=1, help="number of texts to generate")
    add(
        "--novel",
        metavar="CORPUS",
        help="generate only texts that are no line of this file, and none twice",
    )
    add(
        "--no-echo",
        action="store_true",
        help="print the continuation without the prompt",
    )
    add("-o", "--output", metavar="FILE", help="write the texts to this new file")

    choice = parser.add_argument_group("how each symbol is sampled")
    add = choice.add_argument
    add("--top-k", type=int, help="sample from the K most probable symbols")
    add(
        "--top-p",
        type=float,
        help="sample from the fewest most probable symbols that have this probability "
        "together",
    )
    add(
        "--min-p",
        type=float,
        help="sample from symbols that are at least this times as probable as the most "
        "probable one",
    )
    add(
        "--typical-p",
        type=float,
        help="sample from the most typical symbols that have this probability together",
    )
    add("--repetition-penalty", type=float, help="above 1: repeat symbols less")
    add(
        "--forbid",
        default="",
        metavar="SYMBOLS",
        help="symbols that are never generated",
    )
    add(
        "--num-beams",
        type=int,
        help="beam search for the most probable text, with this number of beams",
    )
    add(
        "--length-penalty",
        type=float,
        default=1.0,
        help="length penalty of the beam search; a larger value prefers longer texts",
    )


def add_complete(commands: Any) -> None:
    """Adds the command `complete` to the parser."""
    parser = commands.add_parser(
        "complete",
        help="complete what you type, interactively",
        description="Ask for the beginning of a text, generate the rest, and ask "
        "again. /help lists the commands; Ctrl-C stops a text, Ctrl-D leaves. In a "
        "pipe, each input line is a beginning.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_complete, parser=parser)
    options.add_models(parser)
    options.add_writing(parser)


def _generate(arguments: argparse.Namespace) -> None:
    if arguments.count < 1:
        raise ValueError(f"--count {arguments.count} must be at least 1.")
    if arguments.output:
        common.check_new_file(arguments.output)
    known = None
    if arguments.novel:
        known = corpora.load_corpus(arguments.novel).split("\n")
    model = common.load(arguments)
    filters = ("top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
    options = {
        "max_new_tokens": arguments.max_new_tokens,
        "max_lines": arguments.max_lines,
        "temperature": arguments.temperature,
        "stop": [completion.unescape(text) for text in arguments.stop or []] or None,
        "seed": arguments.seed,
        "unknown": arguments.unknown,
        "echo": not arguments.no_echo,
        "forbidden": completion.unescape(arguments.forbid),
        **{name: getattr(arguments, name) for name in filters},
    }
    prompt = completion.unescape(arguments.prompt)
    pieces: Iterable[str]
    if arguments.count == 1 and known is None and arguments.num_beams is None:
        pieces = itertools.chain(model.stream(prompt, **options), ["\n"])
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            texts = model.generate(
                prompt,
                count=arguments.count,
                exclude=known,
                num_beams=arguments.num_beams,
                length_penalty=arguments.length_penalty,
                **options,
            )
        for warning in caught:
            print(f"textgen generate: {warning.message}", file=sys.stderr)
        # Texts of several lines are told apart by a line of dashes.
        several = any("\n" in text.strip("\n") for text in texts)
        between = f"\n{SEPARATOR}\n" if several else "\n"
        pieces = [between.join(texts), "\n"] if texts else []
    with contextlib.ExitStack() as stack:
        out = sys.stdout
        if arguments.output:
            out = stack.enter_context(open(arguments.output, "x", encoding="utf-8"))
        for piece in pieces:
            print(piece, end="", file=out, flush=True)


def _complete(arguments: argparse.Namespace) -> int:
    model = common.load(arguments)
    # Not at the top, since it loads Keras.
    from textgen.decoding.request import default_length

    length = arguments.max_new_tokens
    if length is None:
        length = default_length(arguments.max_lines)
    return completion.complete(
        model,
        temperature=arguments.temperature,
        max_new_tokens=length,
        max_lines=arguments.max_lines,
        seed=arguments.seed,
        unknown=arguments.unknown,
    )
