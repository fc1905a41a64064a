"""`textgen generate` and `textgen complete`."""

import argparse
import contextlib
import itertools
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

from textgen import files
from textgen.cli import common, completion, many, options, writing
from textgen.decoding.defaults import BATCH_SIZE
from textgen.messages import printable, without_controls
from textgen.text import reading

# Minimums of the options that both commands have.
MINIMUMS = {"temperature": 0, "max_lines": 1, "seed": 0, "top_k": 1}

MAX_NOVEL = 10**6  # all new texts are in the memory


def add_generate(commands: Any) -> None:
    """Adds the command `generate` to the parser."""
    parser = commands.add_parser(
        "generate",
        help="generate text with a trained model",
        usage="%(prog)s MODEL [MODEL ...] [options]",
        description="Generate text with a trained model, token by token. "
        f"{options.TOKEN} A single text is printed while it is generated.\n\nIn "
        r"--prompt, --stop and --forbid, \n is a newline, \t a tab and \\ a backslash.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_generate, parser=parser)
    add = parser.add_argument
    options.add_models(parser)
    add(
        "--prompt",
        default="",
        metavar="TEXT",
        help="the beginning of the text, which the model continues (default: none)",
    )
    options.add_writing(parser)
    add("--count", type=int, default=1, metavar="N", help="number of texts to generate")
    add(
        "--novel",
        metavar="CORPUS",
        help="generate only texts that are not a line of this text file or named "
        "corpus, and no text twice",
    )
    add(
        "--no-echo",
        action="store_true",
        help="print the generated text without the prompt",
    )
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="write the texts to this file, a new one; if there are more than "
        f"{BATCH_SIZE}, they are kept in FILE.part until all are there",
    )
    add(
        "--resume",
        action="store_true",
        help="continue an --output that was interrupted, at the next text; repeat the "
        "other options",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace an existing --output, also an interrupted one",
    )

    choice = parser.add_argument_group(
        "how the next token is chosen",
        "--top-k and the first three options restrict the tokens to sample from.",
    )
    add = choice.add_argument
    add(
        "--top-p",
        type=float,
        metavar="P",
        help="sample from the smallest number of most probable tokens whose "
        "probabilities sum to P",
    )
    add(
        "--min-p",
        type=float,
        metavar="P",
        help="sample from tokens that have at least P times the probability of the "
        "most probable token",
    )
    add(
        "--typical-p",
        type=float,
        metavar="P",
        help="locally typical sampling: prefer tokens whose information content is "
        "near the mean, until their probabilities sum to P",
    )
    add(
        "--repetition-penalty",
        type=float,
        metavar="X",
        help="values above 1 make tokens less probable that are already in the text",
    )
    add(
        "--forbid",
        default="",
        metavar="TEXT",
        help="never generate the tokens of this text, for example --forbid 0123456789",
    )
    add(
        "--num-beams",
        type=int,
        metavar="N",
        help="instead of sampling, search for the most probable text with N beams",
    )
    add(
        "--length-penalty",
        type=float,
        default=1.0,
        metavar="X",
        help="with --num-beams: larger values prefer longer texts",
    )


def add_complete(commands: Any) -> None:
    """Adds the command `complete` to the parser."""
    parser = commands.add_parser(
        "complete",
        help="complete what you type, interactively",
        usage="%(prog)s MODEL [MODEL ...] [options]",
        description="Ask for the beginning of a text, generate the rest token by "
        f"token, and ask again. {options.TOKEN}\n\nWhile it runs, /help lists commands "
        "that change these options, Ctrl-C stops a text, and Ctrl-D leaves. In a pipe, "
        "each input line is a beginning or a command; /save needs --allow-save there.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_complete, parser=parser)
    options.add_models(parser)
    options.add_writing(parser)
    parser.add_argument(
        "--allow-save",
        action="store_true",
        help="allow /save, which writes files, also if the input is not a terminal: "
        "then anyone who writes the input can create files",
    )


def _generate(arguments: argparse.Namespace) -> None:
    _check(arguments)
    searched = arguments.novel or arguments.num_beams is not None
    if arguments.resume or (arguments.count > BATCH_SIZE and not searched):
        many.write(lambda start: _many(arguments, start), arguments)
        return
    if arguments.output:
        common.check_new_file(arguments.output, "--output", arguments.overwrite)
    known = None
    if arguments.novel:
        # A download ends in order.
        with writing.keyboard_interrupts(), common.short_warnings(arguments.parser):
            known = reading.load_corpus(arguments.novel).split("\n")
    model = common.load(arguments)
    prompt, settings = _settings(model, arguments)
    pieces: Iterable[str]
    if arguments.count == 1 and not searched:
        pieces = itertools.chain(model.stream(prompt, **settings), ["\n"])
    else:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            texts = model.generate(
                prompt,
                count=arguments.count,
                exclude=known,
                num_beams=arguments.num_beams,
                length_penalty=arguments.length_penalty,
                **settings,
            )
        for warning in caught:
            message = printable(warning.message, options.MESSAGE_LIMIT)
            print(f"textgen generate: {message}", file=sys.stderr)
        pieces = many.pieces_of(lambda: texts)
    if arguments.output:
        _write(arguments, "".join(pieces))
        return
    shows = without_controls if sys.stdout.isatty() else str
    for piece in pieces:
        print(shows(piece), end="", flush=True)


def _check(arguments: argparse.Namespace) -> None:
    """Raises ValueError for options that are out of range or exclude each other."""
    options.check_minimums(
        arguments, {**MINIMUMS, "max_new_tokens": 0, "count": 1, "num_beams": 1}
    )
    if arguments.novel and arguments.num_beams is not None:
        raise ValueError("--novel cannot be used with --num-beams.")
    if arguments.novel and arguments.count > MAX_NOVEL:
        raise ValueError(
            f"--count {arguments.count} must be at most {MAX_NOVEL} with --novel."
        )
    for name in ("resume", "overwrite"):
        if getattr(arguments, name) and not arguments.output:
            raise ValueError(f"--{name} needs the --output of the texts.")
    if arguments.resume and (arguments.novel or arguments.num_beams is not None):
        other = "--novel" if arguments.novel else "--num-beams"
        raise ValueError(
            f"--resume cannot be used with {other}: its texts are written at the end."
        )


def _settings(model: Any, arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Returns the prompt, and the other arguments of `generate` and `stream`."""
    forbidden = completion.unescape(arguments.forbid)
    if len(set(model.vocabulary.ids_with(forbidden))) == len(model.vocabulary):
        raise ValueError("--forbid must not have all tokens of the vocabulary.")
    filters = ("top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
    return completion.unescape(arguments.prompt), {
        "max_new_tokens": arguments.max_new_tokens,
        "max_lines": arguments.max_lines,
        "temperature": arguments.temperature,
        "stop": [completion.unescape(text) for text in arguments.stop or []] or None,
        "seed": arguments.seed,
        "unknown": arguments.unknown,
        "label": arguments.label,
        "echo": not arguments.no_echo,
        "forbidden": forbidden,
        **{name: getattr(arguments, name) for name in filters},
    }


def _many(arguments: argparse.Namespace, start: int) -> Iterator[str]:
    """Returns an iterator over the texts from number `start` on."""
    model = common.load(arguments)
    prompt, settings = _settings(model, arguments)
    return model.generate_many(prompt, count=arguments.count, start=start, **settings)


def _write(arguments: argparse.Namespace, text: str) -> None:
    """Writes the complete output."""
    if not arguments.overwrite:
        writing.write_new(arguments.output, text)
        return
    with writing.keyboard_interrupts():
        files.write_text(arguments.output, text.encode("utf-8", "replace").decode())


def _complete(arguments: argparse.Namespace) -> int:
    options.check_minimums(arguments, {**MINIMUMS, "max_new_tokens": 1, "max_lines": 0})
    model = common.load(arguments)
    # At a terminal, Ctrl-C ends a text and not the program.
    chat = sys.stdin.isatty()
    with writing.keyboard_interrupts() if chat else contextlib.nullcontext():
        return completion.complete(
            model,
            temperature=arguments.temperature,
            max_new_tokens=arguments.max_new_tokens,
            max_lines=arguments.max_lines,
            stop=[completion.unescape(text) for text in arguments.stop or []] or None,
            top_k=arguments.top_k,
            seed=arguments.seed,
            unknown=arguments.unknown,
            label=arguments.label,
            may_save=arguments.allow_save or None,
        )
