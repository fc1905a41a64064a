"""The command line: parses arguments, calls the library, prints.

Only the commands that need Keras and TensorFlow import them, so that `--help` and
errors about mistyped arguments are fast.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import textgen
from textgen.cli import convert, generate, inspect, train
from textgen.cli.options import HelpFormatter, Parser
from textgen.cli.streams import discard
from textgen.text.unknown import UnknownSymbolsError

UNKNOWN_REMEDY = (
    "Use --unknown skip to leave them out, or --unknown S to replace them with a "
    "symbol S of the vocabulary."
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
        int. The exit code: 0; 1 for an error in the program; 2 for bad input; 130
        after Ctrl-C.
    """
    # A terminal cannot show lone surrogates, and an old one lacks more characters.
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
        # The reader closed the pipe. Python would write the rest at exit, and fail.
        discard(sys.stdout)
        return 0
    except UnknownSymbolsError as error:
        known = "unknown" in arguments  # otherwise only --prompt can have such symbols
        remedy = UNKNOWN_REMEDY if known else "Give another --prompt."
        return _fail(arguments, error.describe(remedy), 2)
    except (ValueError, OSError) as error:
        return _fail(arguments, arguments.parser.name_options(str(error)), 2)
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
    generate.add_generate(commands)
    generate.add_complete(commands)
    inspect.add_evaluate(commands)
    inspect.add_list(commands)
    inspect.add_info(commands)
    convert.add_convert(commands)
    return parser
