"""The command line: parses arguments, calls the library, prints.

Keras and TensorFlow are imported by the commands that need them, so that `--help` and
a mistyped argument answer at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import textgen
from textgen.cli import convert, generate, inspect, train
from textgen.cli.options import Parser
from textgen.cli.streams import discard
from textgen.text.unknown import UnknownSymbolsError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        argv: The arguments, without the program's name. Defaults to `sys.argv[1:]`.

    Returns:
        int. The exit code: 0; 1 for an error of the program's own; 2 for bad input;
        130 after Ctrl-C.
    """
    # What cannot be shown (a lone surrogate, an old terminal) is shown escaped.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    argv = sys.argv[1:] if argv is None else argv
    if not argv:
        parser.print_help()
        return 0
    arguments, extra = parser.parse_known_args(argv)
    if extra:
        arguments.parser.refuse(extra)
    try:
        code = arguments.run(arguments) or 0
        sys.stdout.flush()
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader has seen enough; nothing more may be written, not at exit either.
        discard(sys.stdout)
        return 0
    except UnknownSymbolsError as error:
        remedy = "Use --unknown skip to leave them out, or --unknown and a stand-in."
        return _fail(arguments, error.describe(remedy), 2)
    except (ValueError, OSError) as error:
        return _fail(arguments, str(error), 2)
    except Exception as error:
        if os.environ.get("TEXTGEN_DEBUG"):
            raise
        message = f"{type(error).__name__}: {error} (TEXTGEN_DEBUG=1 shows where)"
        return _fail(arguments, message, 1)
    return code


def _fail(arguments: argparse.Namespace, message: str, code: int) -> int:
    line = " ".join(message.split())
    print(f"textgen {arguments.command}: error: {line}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="textgen",
        description="Train a recurrent language model on a text, and generate text "
        "with it.",
        epilog="`textgen list` shows the pretrained models and the named corpora.",
    )
    parser.add_argument(
        "--version", action="version", version=f"textgen {textgen.__version__}"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train.add_train(commands)
    generate.add_generate(commands)
    generate.add_complete(commands)
    inspect.add_evaluate(commands)
    inspect.add_list(commands)
    inspect.add_info(commands)
    convert.add_convert(commands)
    return parser
