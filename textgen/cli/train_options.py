"""The options of `textgen train`; `train_checks.py` checks them."""

import argparse
from typing import Any

from textgen.cli import launch, options, train_watching
from textgen.layers.cells import CELLS

MINUTES = 5.0  # default of --minutes

CHOSEN = (
    "Chosen for the text, the machine and the time, if not given; with --windows, the "
    "value in parentheses."
)

PRECISIONS = ("float32", "float64", "mixed_bfloat16", "mixed_float16")


def add_train(commands: Any) -> argparse.ArgumentParser:
    """Adds the command `train` to the parser; returns the parser of its options."""
    parser = commands.add_parser(
        "train",
        help="train a model on text files or a named corpus",
        usage="%(prog)s CORPUS [CORPUS ...] [options]",
        description="Train a recurrent language model on a text: it learns to predict "
        "the next token. A token is a character, or a word with --level word. The "
        "network and its training are chosen for the text, the machine and --minutes; "
        "options that you give are kept. Loss and samples of generated text are "
        "printed regularly. At the end, the model is saved in one file, for `textgen "
        "generate`. The state of the training is saved too: Ctrl-C stops the training "
        "and prints the command that continues it.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(parser=parser)
    options.add_corpora(parser)
    add = parser.add_argument
    add(
        "-o",
        "--output",
        metavar="FILE",
        default="model.keras",
        help="the model file to write; its name ends in .keras",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace existing files: the model, its checkpoints, --log and "
        "--samples; the old model is kept until the new one is complete",
    )
    add(
        "--minutes",
        type=float,
        metavar="M",
        help="time of the complete command; the learning rate rises and falls with the "
        f"clock (default: {MINUTES:g}, unless --epochs or --windows is given)",
    )
    add(
        "--dry-run",
        action="store_true",
        help="print the choice, and the same training as a complete command and in "
        "Python; train nothing",
    )
    _add_checkpoints(parser)
    _add_text(parser)
    _add_model(parser)
    _add_kind(parser)
    _add_training(parser)
    _add_optimizer(parser)
    train_watching.add_watching(parser)
    group = launch.add_place(parser)
    group.add_argument(
        "--distribute",
        action="store_true",
        help="train with several processes: the same as `textgen launch train`, which "
        "explains it; under SLURM and Kubernetes, nothing else is needed",
    )
    group.add_argument(
        "--devices",
        choices=("1", "all"),
        default="1",
        help="with `all`, use all GPUs of this machine, with the JAX backend (default: "
        "1; several processes use all of them)",
    )
    return parser


def _add_checkpoints(parser: argparse.ArgumentParser) -> None:
    checkpoints = parser.add_argument_group(
        "checkpoints",
        "A checkpoint is the complete state of the training. After a crash or Ctrl-C, "
        "the same command with --resume continues at the step of the last checkpoint, "
        "and ends with the same model as a training without interruption.",
    )
    add = checkpoints.add_argument
    add(
        "--resume",
        action="store_true",
        help="continue an interrupted training, or train for more --epochs or "
        "--minutes; other options may be left out, but not changed",
    )
    add(
        "--checkpoint",
        metavar="DIR",
        help="folder of the checkpoints (default: poet.checkpoints for --output "
        "poet.keras)",
    )
    add(
        "--every",
        type=_interval,
        metavar="N",
        help="number of batches, or time such as 30s or 10min, from one checkpoint to "
        "the next; there is one after each epoch too (default: as often as 2 %% of the "
        "training time allows)",
    )
    add(
        "--keep",
        type=int,
        default=2,
        metavar="N",
        help="number of checkpoints to keep, without the one of the best epoch",
    )


def _interval(text: str) -> int | str:
    """Returns the value of `--every`; `Checkpoints` checks it."""
    return int(text) if text.lstrip("+-").isdecimal() else text


def _add_text(parser: argparse.ArgumentParser) -> None:
    text = parser.add_argument_group("text")
    add = text.add_argument
    options.add_text(text)
    options.add_vocabulary(text)
    add(
        "--validation",
        type=float,
        metavar="SHARE",
        help="share of the text that is held out to measure the validation loss: the "
        "end of the text, or random lines with --lines; 0 holds out nothing (default: "
        "0.1; less for a text of more than two million tokens)",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model", CHOSEN)
    add = model.add_argument
    add(
        "--from",
        dest="source_model",
        metavar="MODEL",
        help="train this model further, a .keras file or a pretrained model; its "
        "network and its vocabulary are kept",
    )
    add(
        "--extend-vocabulary",
        action="store_true",
        help="with --from: add the symbols of the text that the model does not have "
        "(default: they are an error)",
    )
    add("--cell", choices=tuple(CELLS), help="recurrent cell (lstm)")
    add(
        "--units",
        type=int,
        nargs="+",
        metavar="N",
        help="number of units of each recurrent layer, from the first to the last: "
        "--units 256 256 makes two layers (128)",
    )
    add(
        "--embedding",
        type=int,
        metavar="SIZE",
        help="size of the embedding vector of a token; 0: one-hot input (0)",
    )
    add(
        "--tie-weights",
        action=argparse.BooleanOptionalAction,
        help="use the transposed embedding as output weights; --embedding must equal "
        "the last of --units (no)",
    )
    add(
        "--layer-norm",
        action=argparse.BooleanOptionalAction,
        help="add layer normalisation after each recurrent layer (no)",
    )
    add(
        "--dropout",
        type=float,
        metavar="RATE",
        help="dropout rate after each recurrent layer (0)",
    )
    add(
        "--recurrent-dropout",
        type=float,
        metavar="RATE",
        help="dropout rate of the recurrent state, from step to step (0)",
    )
    add(
        "--weight-dropout",
        type=float,
        metavar="RATE",
        help="dropout rate of the recurrent weights, the same for a complete batch (0)",
    )


def _add_kind(parser: argparse.ArgumentParser) -> None:
    kind = parser.add_argument_group(
        "what the model predicts",
        "By default, the text decides between --many-to-many (running text) and "
        "--lines (each line is a text of its own). At most one of these options:",
    ).add_mutually_exclusive_group()
    kind.add_argument(
        "--windows",
        action="store_true",
        help="the setup of the courses: read windows of --sequence-length tokens, and "
        "predict only the token after each window (many-to-one); options that are not "
        "given have the values in parentheses, not chosen ones",
    )
    kind.add_argument(
        "--many-to-many",
        action="store_true",
        help="read sequences of --sequence-length tokens, and predict the next token "
        "after every token",
    )
    kind.add_argument(
        "--lines",
        action="store_true",
        help="read single lines, such as names, and predict the next token after every "
        "token; each line is a separate text, and the model learns where it ends",
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    training = parser.add_argument_group("training", CHOSEN)
    add = training.add_argument
    add(
        "--sequence-length",
        type=int,
        metavar="N",
        help="number of tokens of a window or sequence (40); with --lines, the length "
        "at which longer lines are cut (default: twice the length that 99 %% of the "
        "lines do not exceed, and at least 64)",
    )
    add(
        "--sequence-stride",
        type=int,
        metavar="N",
        help="with --windows: number of tokens from the start of a window to the start "
        "of the next (3)",
    )
    add(
        "--epochs",
        type=int,
        metavar="N",
        help="number of passes over the text, those before --resume included (default: "
        "as many as --minutes allows; 10 with --windows)",
    )
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="number of windows, sequences or lines in a batch; the weights change "
        "after each batch (128)",
    )
    add(
        "--early-stopping",
        type=int,
        metavar="N",
        help="stop after N epochs without a lower validation loss",
    )
    add(
        "--stateful",
        action=argparse.BooleanOptionalAction,
        help="with --many-to-many, let each batch continue the one before, and carry "
        "the state from one to the next (no)",
    )
    _add_computation(add)
    _add_reproducibility(add)


def _add_computation(add: Any) -> None:
    add(
        "--precision",
        choices=PRECISIONS,
        help="numerical precision; the mixed ones compute in 16 bits, with weights in "
        "float32 (float32)",
    )
    add(
        "--sampled-softmax",
        type=int,
        metavar="N",
        help="number of tokens that a training step draws for the softmax, in place of "
        "all tokens of a large vocabulary; the printed training loss is then that of "
        "the drawn tokens, and the validation loss is exact (0: all tokens)",
    )
    add(
        "--jit",
        action=argparse.BooleanOptionalAction,
        help="compile the training step with XLA, or do not (default: Keras decides)",
    )


def _add_reproducibility(add: Any) -> None:
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="random seed of the initial weights, the order of the data, dropout and "
        "the samples; on a CPU, the same seed gives exactly the same model",
    )
    add(
        "--deterministic",
        action="store_true",
        help="use only operations that give the same result each time, so that --seed "
        "also gives exactly the same model on a GPU; the training is slower",
    )


def _add_optimizer(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("optimizer (Adam)", CHOSEN).add_argument
    add(
        "--learning-rate",
        type=float,
        metavar="RATE",
        help="learning rate, the highest one of a schedule (0.001)",
    )
    add(
        "--schedule",
        choices=("constant", "cosine"),
        help="learning-rate schedule for --epochs: cosine lowers the rate to 0 at the "
        "end, along a half wave of the cosine (constant); --minutes has its own",
    )
    add(
        "--warmup-steps",
        type=int,
        metavar="N",
        help="raise the learning rate from 0 to --learning-rate during the first N "
        "batches (0)",
    )
    add(
        "--clip-value",
        type=float,
        metavar="X",
        help="clip each component of the gradients to the range from -X to X (5)",
    )
    add(
        "--clip-norm",
        type=float,
        metavar="X",
        help="clip the norm of all gradients together to X, in place of --clip-value",
    )
    add(
        "--beta-2",
        type=float,
        metavar="X",
        help="decay rate of the second moment (0.999)",
    )
    add(
        "--weight-decay",
        type=float,
        metavar="X",
        help="weight decay: decreases all weights a little in each step (0)",
    )
    add(
        "--gradient-accumulation-steps",
        type=int,
        metavar="N",
        help="change the weights only after every N batches, by the mean of their "
        "gradients (1)",
    )
