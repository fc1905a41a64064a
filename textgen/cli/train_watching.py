"""How to watch a training: its progress, samples, logs and TensorBoard."""

import argparse
import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

import textgen
from textgen.cli import common
from textgen.cli.progress import clock

SILENCE = 60.0  # seconds after which a training prints a line


def add_watching(parser: argparse.ArgumentParser) -> None:
    """Adds the options for logs and samples to a parser."""
    add = parser.add_argument_group("watching the training").add_argument
    add(
        "--progress",
        choices=("auto", "plain", "none"),
        default="auto",
        help="auto: in a terminal, a block with the time left, the speed and the "
        "newest samples; plain: a line now and then, as in a pipe; none: neither "
        "progress nor samples",
    )
    add(
        "--log",
        metavar="CSV",
        help="write loss, learning rate and gradient norm of each epoch to this CSV "
        "file, for `textgen plot`",
    )
    add(
        "--samples",
        metavar="JSONL",
        help="write the samples of each epoch to this JSON Lines file, for `textgen "
        "plot`",
    )
    add(
        "--tensorboard",
        metavar="DIR",
        help="write losses and samples to this folder, for TensorBoard",
    )
    add = parser.add_argument_group("samples after each epoch").add_argument
    add(
        "--prompt",
        metavar="TEXT",
        help=r"the beginning of the samples; \n is a newline (default: the first line "
        "of the text, or nothing with --lines)",
    )
    add(
        "--temperatures",
        type=float,
        nargs="+",
        default=[0.5, 1.0],
        metavar="T",
        help="sampling temperatures, lower is more predictable: one sample is printed "
        "for each",
    )
    add(
        "--max-new-tokens",
        type=int,
        default=200,
        metavar="N",
        help="number of tokens of a sample; 0 prints no generated text",
    )


def check(arguments: argparse.Namespace) -> None:
    """Raises OSError or ImportError if a file for watching cannot be written."""
    files = {"--log": arguments.log, "--samples": arguments.samples}
    for option, path in files.items():
        if path is not None:
            common.check_new_file(path, option, arguments.overwrite)
    if arguments.log is not None and _same(arguments.log, arguments.samples):
        raise ValueError("--log and --samples must be different files.")
    if arguments.tensorboard is None:
        return
    folder = Path(arguments.tensorboard)
    if importlib.util.find_spec("tensorboard") is None:
        raise ImportError(
            "--tensorboard: TensorBoard is not installed: pip install "
            "'keras-textgen[tensorboard]'"
        )
    common.check_folder(folder, "--tensorboard")
    has_events = folder.exists() and any(folder.rglob("events.out.tfevents.*"))
    if has_events and not arguments.overwrite:
        raise FileExistsError(
            f"--tensorboard {folder} already has a training: give the name of another "
            "folder."
        )


def _same(one: str, other: str | None) -> bool:
    return other is not None and os.path.realpath(one) == os.path.realpath(other)


def callbacks(
    keras: Any,
    model: Any,
    arguments: argparse.Namespace,
    prompt: str,
    characters_per_token: float,
    budget: Any,
) -> tuple[list, int]:
    """Returns callbacks of a training, in order, and `verbose` of `fit`.

    Args:
        keras: The module.
        model: The model that is trained.
        arguments: The parsed arguments.
        prompt: str. The beginning of the samples.
        characters_per_token: float.
        budget: `TimeBudget` or `None`.
    """
    found: list[Any] = []
    # Before the budget, which resets the learning rate at the end of an epoch.
    if arguments.log:
        found.append(textgen.TrainingLog(arguments.log))
    if arguments.tensorboard:
        found.append(keras.callbacks.TensorBoard(arguments.tensorboard))
    if budget is not None:
        found.append(budget)
    shows, verbose = _progress(keras, arguments, budget, characters_per_token, found)
    if shows is _show_nothing and not (arguments.samples or arguments.tensorboard):
        return found, verbose
    found.append(
        textgen.SampleText(
            prompt,
            arguments.temperatures,
            max_new_tokens=arguments.max_new_tokens,
            seed=arguments.seed,
            label=model.labels[:1] or None,
            file=arguments.samples,
            tensorboard=arguments.tensorboard,
            show=shows,
        )
    )
    return found, verbose


def _progress(
    keras: Any,
    arguments: argparse.Namespace,
    budget: Any,
    characters_per_token: float,
    found: list,
) -> tuple[Any, int]:
    """Adds the callback that shows the progress.

    Returns:
        What shows a sample, `None` for `print`; and `verbose` of `fit`.
    """
    if arguments.progress == "none":
        return _show_nothing, 0
    if arguments.progress == "auto" and _is_terminal():
        progress = textgen.Progress(budget, characters_per_token)
        found.append(progress)
        return progress.show, 1
    if budget is not None:
        found.append(_lines(keras, budget))
        return None, 0
    if sys.stdout.isatty():
        return None, 1  # the progress bar of Keras
    found.append(_lines(keras))
    return None, 2


def _is_terminal() -> bool:
    from textgen.training import live

    return live.is_suitable()


def _show_nothing(text: str) -> None:
    pass


def _lines(keras: Any, budget: Any = None) -> Any:
    """Returns a callback that prints a line now and then.

    Args:
        keras: The module.
        budget: `TimeBudget`, or `None`: then Keras prints a line after each epoch.
    """
    begin = last = time.monotonic()

    def show(logs: dict) -> None:
        nonlocal last
        last = time.monotonic()
        line = clock(last - begin)
        if budget is not None:
            line = f"{clock(budget.spent)} of {clock(60 * budget.minutes)}"
        line += f": loss {logs['loss']:.4f}"
        if "val_loss" in logs:
            line += f", held-out loss {logs['val_loss']:.4f}"
        print(line, flush=True)

    def after_batch(batch: int, logs: dict) -> None:
        if time.monotonic() - last > SILENCE:
            show(logs)

    def after_epoch(epoch: int, logs: dict) -> None:
        nonlocal last
        last = time.monotonic()
        if budget is not None:
            show(logs)

    return keras.callbacks.LambdaCallback(
        on_train_batch_end=after_batch, on_epoch_end=after_epoch
    )
