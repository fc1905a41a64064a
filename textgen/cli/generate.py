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


def add_generate(commands: Any) -> None:
    """Adds the command `generate` to the parser."""
    parser = commands.add_parser(
        "generate",
        help="write text with a trained model",
        description="Write text with a trained model; one text appears as it is made.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_generate, parser=parser)
    add = parser.add_argument
    options.add_models(parser)
    options.add_writing(parser)
    add("--prompt", default="", help="what the text begins with")
    add("--stop", nargs="+", metavar="TEXT", help=r"end before any of these; \n works")
    add("--count", type=int, default=1, help="number of texts")
    add("--novel", metavar="CORPUS", help="no text that is a line of it, none twice")
    add("--no-echo", action="store_true", help="leave the prompt out")
    add("-o", "--output", metavar="FILE", help="write to this new file")

    choice = parser.add_argument_group("how each symbol is chosen")
    add = choice.add_argument
    add("--top-k", type=int, help="only the so many most probable symbols")
    add("--top-p", type=float, help="only the most probable of this share together")
    add("--min-p", type=float, help="at least this share of the most probable")
    add("--typical-p", type=float, help="only the most typical of this share together")
    add("--repetition-penalty", type=float, help="above 1, less is said again")
    add("--forbid", default="", metavar="SYMBOLS", help="symbols never to write")
    add("--num-beams", type=int, help="search for the most probable text instead")
    add("--length-penalty", type=float, default=1.0, help="of the search; more: longer")


def add_complete(commands: Any) -> None:
    """Adds the command `complete` to the parser."""
    parser = commands.add_parser(
        "complete",
        help="ask for beginnings, and write on",
        description="Asks for the beginning of a poem, writes the rest, and asks "
        "again; /help lists what else can be typed. Ctrl-C stops the poem, Ctrl-D "
        "leaves. In a pipe: a beginning on each line, poems out.",
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
        pieces = [text + "\n" for text in texts]
    with contextlib.ExitStack() as stack:
        out = sys.stdout
        if arguments.output:
            out = stack.enter_context(open(arguments.output, "x", encoding="utf-8"))
        for piece in pieces:
            print(piece, end="", file=out, flush=True)


def _complete(arguments: argparse.Namespace) -> int:
    return completion.complete(
        common.load(arguments),
        temperature=arguments.temperature,
        max_new_tokens=arguments.max_new_tokens
        or max(400, 100 * (arguments.max_lines or 0)),
        max_lines=arguments.max_lines,
        seed=arguments.seed,
        unknown=arguments.unknown,
    )
