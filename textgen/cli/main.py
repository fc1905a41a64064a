"""The command line: parses arguments, calls the library, prints.

Only the commands that need Keras and TensorFlow import them, so that `--help` and
errors about mistyped arguments are fast.
"""

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Sequence

import textgen
from textgen.cli import (
    cells,
    convert,
    export,
    generate,
    inspect,
    launch,
    plot,
    prepare,
    serve,
    streams,
    train,
)
from textgen.cli.options import MESSAGE_LIMIT, HelpFormatter, Parser
from textgen.messages import printable
from textgen.text.unknown import UnknownSymbolsError

UNKNOWN_REMEDY = (
    "Use --unknown skip to leave them out, or --unknown S to replace them with a "
    "symbol S of the vocabulary."
)

NO_MEMORY = (
    "The memory does not suffice. Use a smaller model, text or batch, or fewer texts."
)

EXAMPLES = """\
`textgen COMMAND --help` explains the arguments of a command. Examples:

  textgen list
  textgen generate shakespeare --prompt "shall i "
  textgen train poems.txt --output poems.keras
  textgen complete poems.keras"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: The arguments, without the program's name. Defaults to `sys.argv[1:]`.

    Returns:
        int. The exit code: 0; 1 for an error in the program; 2 for bad input, a file
        that cannot be written, or too little memory; 130 after Ctrl-C.

    Raises:
        SystemExit: After the help (code 0), or for mistyped arguments (code 2).
    """
    streams.open_missing()
    # A terminal cannot show lone surrogates, and an old one lacks more characters.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            with contextlib.suppress(OSError):  # it flushes the stream
                stream.reconfigure(errors="backslashreplace")
    with streams.checked_output():
        try:
            try:
                return _run(sys.argv[1:] if argv is None else list(argv))
            finally:
                sys.stdout.flush()
        except BrokenPipeError:  # the reader closed the pipe
            return 0
        except streams.OutputError as error:
            print(f"textgen: error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(file=sys.stderr)
            return 130


def _run(argv: list[str]) -> int:
    """Parses the arguments, runs the command, and reports its errors."""
    started = time.monotonic()  # `train --minutes` counts from here
    parser = _parser()
    if not argv:
        parser.print_help()
        return 0
    arguments, extra = parser.parse_known_args(argv)
    if extra:
        arguments.parser.refuse(extra)
    arguments.argv = list(argv)  # `train` stores and repeats the command
    arguments.started = started
    try:
        return arguments.run(arguments) or 0
    except (BrokenPipeError, streams.OutputError):
        raise
    except UnknownSymbolsError as error:
        known = "unknown" in arguments  # otherwise only --prompt can have such symbols
        remedy = UNKNOWN_REMEDY if known else "Give another --prompt."
        return _fail(arguments, error.describe(remedy), 2)
    except (ValueError, OSError, ImportError) as error:  # an extra is not installed
        return _fail(arguments, arguments.parser.name_options(str(error)), 2)
    except Exception as error:
        if type(error).__name__ == "LostProcessError":
            raise  # `worker.py` answers it
        if _is_memory_error(error):
            return _fail(arguments, NO_MEMORY, 2)
        if os.environ.get("TEXTGEN_DEBUG"):
            raise
        reason = printable(error, MESSAGE_LIMIT)
        message = f"{type(error).__name__}: {reason} (TEXTGEN_DEBUG=1 shows where)"
        return _fail(arguments, message, 1)


def _is_memory_error(error: Exception) -> bool:
    """Whether there was too little memory, also for TensorFlow."""
    return isinstance(error, MemoryError) or any(
        each.__name__ == "ResourceExhaustedError" for each in type(error).__mro__
    )


def _fail(arguments: argparse.Namespace, message: str, code: int) -> int:
    """Prints an error message in one line, and returns the exit code."""
    line = printable(message, MESSAGE_LIMIT + 100)
    print(f"textgen {arguments.command}: error: {line}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="textgen",
        description="Train a recurrent language model on a text, and generate text "
        "with it.",
        epilog=EXAMPLES,
        formatter_class=HelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"textgen {textgen.__version__}"
    )
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    train.add_train(commands)
    launch.add_launch(commands)
    prepare.add_prepare(commands)
    generate.add_generate(commands)
    generate.add_complete(commands)
    serve.add_serve(commands)
    inspect.add_evaluate(commands)
    cells.add_cells(commands)
    cells.add_surprise(commands)
    inspect.add_list(commands)
    inspect.add_info(commands)
    export.add_export(commands)
    plot.add_plot(commands)
    convert.add_convert(commands)
    return parser
