"""`textgen plot`."""

import argparse
import logging
import warnings
from pathlib import Path
from typing import Any

from textgen import files
from textgen.cli import common, options, writing

_PICTURES = ("png", "svg", "pdf")
_SAMPLES = (".jsonl", ".ndjson")


def add_plot(commands: Any) -> None:
    """Adds the command `plot` to the parser."""
    parser = commands.add_parser(
        "plot",
        help="plot the curves of trainings, or show their samples on a page",
        usage="%(prog)s FILE [FILE ...] [options]",
        description="Plot loss, metrics, learning rate and gradient norm of trainings, "
        "from the files of `textgen train --log` or of Keras's CSVLogger; or make a "
        "page that shows the samples of a training, from the file of `textgen train "
        "--samples`.",
        epilog="Examples:\n\n  textgen plot run.csv other.csv -o curves.png\n"
        "  textgen plot samples.jsonl -o samples.html",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_plot, parser=parser)
    add = parser.add_argument
    add(
        "logs",
        nargs="+",
        metavar="FILE",
        help="one or several .csv files, whose curves are plotted together; or one "
        ".jsonl file of samples",
    )
    add(
        "-o",
        "--output",
        metavar="FILE",
        help="the picture, whose name ends in .png, .svg or .pdf, or the page, in "
        ".html (default: curves.png or samples.html)",
    )
    add("--overwrite", action="store_true", help="replace an existing --output")
    add(
        "--x",
        choices=("epochs", "steps", "seconds"),
        default="epochs",
        help="horizontal axis of the curves",
    )


def _plot(arguments: argparse.Namespace) -> None:
    logs = arguments.logs
    samples = [name for name in logs if Path(name).suffix.lower() in _SAMPLES]
    if samples and len(logs) > 1:
        raise ValueError(
            f"{samples[0]} is a file of samples: a page shows one of them, without "
            "curves."
        )
    default = "samples.html" if samples else "curves.png"
    output = Path(default if arguments.output is None else arguments.output)
    kinds = ("html",) if samples else _PICTURES
    kind = output.suffix.lower().removeprefix(".")
    if kind not in kinds:
        what = "a page" if samples else "the curves of a .csv file"
        raise ValueError(
            f"--output {output}: the name of {what} must end in "
            f"{' or '.join(f'.{each}' for each in kinds)}."
        )
    common.check_new_file(output, "--output", arguments.overwrite)
    if samples:
        from textgen.analysis.samples_page import samples_page

        page = samples_page(logs[0])
        with writing.keyboard_interrupts():
            files.write_text(output, page)
    else:
        _draw(logs, arguments.x, output, kind)
    print(f"Saved {output}")


def _draw(logs: list[str], x: str, output: Path, kind: str) -> None:
    # About its caches, and characters of a file name that its font lacks.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from textgen.analysis.curves import plot_curves

        figure = plot_curves(logs, x)
        import matplotlib

        # The same curves give the same file.
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
        with (
            writing.keyboard_interrupts(),
            files.replacing(output) as file,
            matplotlib.rc_context({"svg.hashsalt": "textgen"}),
        ):
            figure.savefig(file, format=kind, dpi=150, metadata=metadata)
