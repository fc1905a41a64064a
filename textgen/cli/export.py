"""`textgen export`."""

import argparse
from pathlib import Path
from typing import Any

import textgen
from textgen.cli import common, completion, options, writing
from textgen.messages import printable
from textgen.models import catalogue

SUFFIXES = (".html", ".htm")


def add_export(commands: Any) -> None:
    """Adds the command `export` to the parser."""
    parser = commands.add_parser(
        "export",
        help="write a model as one HTML file that generates text in any browser",
        usage="%(prog)s MODEL PAGE.html [options]",
        description="Write a model as one HTML file: a page that generates text in any "
        "browser, without a network and without a server. It contains the weights.\n\n"
        r"In --prompt, \n is a newline, \t a tab and \\ a backslash.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_export, parser=parser)
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="a .keras file, or the name of a pretrained model (see `textgen list`)",
    )
    add("output", metavar="PAGE.html", help="the file to write")
    add("--overwrite", action="store_true", help="replace an existing file")
    add(
        "--half",
        action="store_true",
        help="store the weights in 16 bits: half the size, and nearly the same text",
    )
    add(
        "--title",
        metavar="TEXT",
        help="title of the page (default: the name of the model)",
    )
    add(
        "--about",
        metavar="TEXT",
        help="a line below the title (default: what the model was trained on)",
    )
    add(
        "--prompt",
        metavar="TEXT",
        help="the beginning that the page shows first (default: that of the examples "
        "of a pretrained model, otherwise none)",
    )


def _export(arguments: argparse.Namespace) -> None:
    output = Path(arguments.output)
    if output.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{output} must end in .html.")
    common.check_new_file(output, "", arguments.overwrite)
    path = catalogue.find(arguments.model)
    model = textgen.load(path)
    from textgen.export import page  # it imports Keras

    known = catalogue.PRETRAINED.get(arguments.model)
    about = page.describe(model, known.corpus if known else None)
    with writing.keyboard_interrupts():
        page.export_html(
            model,
            output,
            half=arguments.half,
            title=path.stem if arguments.title is None else arguments.title,
            about=about if arguments.about is None else arguments.about,
            prompt=_prompt(arguments),
        )
    size = output.stat().st_size / 1e6
    print(f"Saved {printable(output)} ({size:.1f} MB). Open it in a browser.")


def _prompt(arguments: argparse.Namespace) -> str:
    """Returns the given beginning, or the one of the examples of a pretrained model."""
    if arguments.prompt is not None:
        return completion.unescape(arguments.prompt)
    known = catalogue.PRETRAINED.get(arguments.model)
    return completion.unescape(known.prompt) if known else ""
