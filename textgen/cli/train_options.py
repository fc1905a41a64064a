"""The options of `textgen train`, and what their values must be."""

import argparse
from typing import Any

from textgen.cli import common, options
from textgen.layers.cells import CELLS

# The smallest values that make sense for options of `train`.
LEAST = {
    "units": 1,
    "sequence_length": 1,
    "sequence_stride": 1,
    "epochs": 1,
    "batch_size": 1,
    "max_new_tokens": 0,
    "warmup_steps": 0,
    "weight_decay": 0,
    "gradient_accumulation_steps": 1,
    "early_stopping": 1,
}

PRECISIONS = ("float32", "float64", "mixed_bfloat16", "mixed_float16")


def add_train(commands: Any) -> argparse.ArgumentParser:
    """Adds the command `train` to the parser; returns the parser of its options."""
    parser = commands.add_parser(
        "train",
        help="train a model on a text file or a named corpus",
        description="Train a recurrent language model on a text. Samples are printed "
        "after each epoch, and the model is saved in one file at the end. Ctrl-C ends "
        "the training early and saves the model. `textgen generate` then generates "
        "text with it.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(parser=parser)
    add = parser.add_argument
    add(
        "corpus",
        metavar="CORPUS",
        help="text file, corpus name (see `textgen list`), or - for standard input",
    )
    add(
        "-o",
        "--output",
        metavar="FILE",
        default="model.keras",
        help="the model file to write",
    )
    add("--overwrite", action="store_true", help="replace existing files")
    add("--log", metavar="CSV", help="write the loss of each epoch to this CSV file")
    add(
        "--resume",
        action="store_true",
        help="continue an interrupted training, or train for more --epochs; repeat the "
        "other options. With -o poet.keras, the state is in the folder "
        "poet.checkpoints",
    )

    text = parser.add_argument_group("text")
    add = text.add_argument
    options.add_text(text)
    add(
        "--vocabulary-size",
        type=int,
        metavar="N",
        help="size of the vocabulary: the N most frequent symbols; the symbol � "
        "replaces all others",
    )
    add(
        "--validation",
        type=float,
        default=0.1,
        help="share of the text that is held out to measure the validation loss",
    )

    model = parser.add_argument_group("model")
    add = model.add_argument
    add("--cell", choices=tuple(CELLS), default="lstm", help="recurrent cell")
    add(
        "--units",
        type=int,
        nargs="+",
        default=[128],
        help="number of units of each recurrent layer, from the first to the last",
    )
    add(
        "--dropout",
        type=float,
        default=0.0,
        help="dropout rate after each recurrent layer",
    )
    add(
        "--recurrent-dropout",
        type=float,
        default=0.0,
        help="dropout rate of the recurrent state",
    )
    add(
        "--weight-dropout",
        type=float,
        default=0.0,
        help="dropout rate of the recurrent weights",
    )
    add(
        "--embedding",
        type=int,
        metavar="SIZE",
        help="size of an embedding layer (default: one-hot input)",
    )
    add(
        "--layer-norm",
        action="store_true",
        help="add layer normalisation after each recurrent layer",
    )
    add(
        "--tie-weights",
        action="store_true",
        help="use the transposed embedding as output weights",
    )
    kind = model.add_mutually_exclusive_group()
    kind.add_argument(
        "--many-to-many",
        action="store_true",
        help="predict the next symbol at every step of a sequence (default: only "
        "after a window of --sequence-length symbols)",
    )
    kind.add_argument(
        "--lines",
        action="store_true",
        help="train on single lines, such as names: each line is a text; implies "
        "predicting at every step",
    )

    training = parser.add_argument_group("training")
    add = training.add_argument
    add(
        "--sequence-length",
        type=int,
        help="number of symbols of a window or sequence (default: 40); with --lines, "
        "the length at which longer lines are cut (default: twice the length that 99 "
        "%% of the lines do not exceed, and at least 64)",
    )
    add(
        "--sequence-stride",
        type=int,
        default=3,
        help="number of symbols from one window to the next",
    )
    add("--epochs", type=int, default=10, help="number of passes over the text")
    add(
        "--batch-size",
        type=int,
        default=128,
        help="number of windows, sequences or lines in a training step",
    )
    add(
        "--learning-rate",
        type=float,
        default=1e-3,
        help="learning rate of the Adam optimizer",
    )
    add(
        "--schedule",
        choices=("constant", "cosine"),
        default="constant",
        help="learning-rate schedule",
    )
    add(
        "--warmup-steps",
        type=int,
        default=0,
        help="number of steps in which the learning rate rises from 0",
    )
    add(
        "--clip-value",
        type=float,
        default=5.0,
        help="limit of the absolute value of each gradient",
    )
    add("--weight-decay", type=float, default=0.0, help="weight decay of the optimizer")
    add(
        "--gradient-accumulation-steps",
        type=int,
        default=1,
        metavar="N",
        help="number of batches whose gradients are averaged for one step",
    )
    add(
        "--early-stopping",
        type=int,
        metavar="N",
        help="stop after N epochs without a lower validation loss, and keep the "
        "weights of the best epoch",
    )
    add(
        "--precision", choices=PRECISIONS, default="float32", help="numerical precision"
    )
    add(
        "--jit",
        action=argparse.BooleanOptionalAction,
        help="compile the training step with XLA (default: Keras decides)",
    )
    add(
        "--seed",
        type=int,
        default=0,
        help="random seed; the same seed gives the same model",
    )

    samples = parser.add_argument_group("samples after each epoch")
    add = samples.add_argument
    add(
        "--prompt",
        help="the beginning of the samples (default: the first line of the text)",
    )
    add(
        "--temperatures",
        type=float,
        nargs="+",
        default=[0.5, 1.0],
        help="one sample for each temperature",
    )
    add("--max-new-tokens", type=int, default=200, help="number of symbols of a sample")
    return parser


def check_options(arguments: argparse.Namespace) -> None:
    """Raises ValueError for a value that would fail later, or make no sense."""
    for name in ("learning_rate", "clip_value"):
        if not 0 < getattr(arguments, name) < float("inf"):
            option = "--" + name.replace("_", "-")
            raise ValueError(f"{option} {getattr(arguments, name)} must be positive.")
    for name, least in LEAST.items():
        values = getattr(arguments, name)
        for value in values if isinstance(values, list) else [values]:
            if value is not None and not least <= value < float("inf"):
                option = "--" + name.replace("_", "-")
                raise ValueError(f"{option} {value} must be at least {least}.")
    if arguments.early_stopping and not arguments.validation:
        raise ValueError("--early-stopping needs a --validation above 0.")
    if arguments.log:
        common.check_new_file(arguments.log, arguments.overwrite)
