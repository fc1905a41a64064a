"""`textgen train`."""

import argparse
import contextlib
import math
import shlex
import signal
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

import textgen
from textgen.cli import common, completion, options
from textgen.cli.streams import lasting_output
from textgen.layers.cells import CELLS
from textgen.text import corpora

WINDOW = 40  # symbols, unless --sequence-length says otherwise

LONG_LINE = 64  # symbols; a line up to this length is never cut by default


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


def add_train(commands: Any) -> None:
    """Adds the command `train` to the parser."""
    parser = commands.add_parser(
        "train",
        help="train a model on a text file or a named corpus",
        description="Train a recurrent language model on a text. Samples are printed "
        "after each epoch, and the model is saved in one file at the end. Ctrl-C ends "
        "the training early and saves the model. `textgen generate` then generates "
        "text with it.",
        formatter_class=options.HelpFormatter,
    )
    parser.set_defaults(run=_train, parser=parser)
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


@lasting_output()
def _train(arguments: argparse.Namespace) -> None:
    arguments.overwrite |= arguments.resume  # what an earlier part of it has written
    output = common.output_path(arguments)
    _check_options(arguments)
    print(f"Reading {arguments.corpus}", flush=True)
    text = corpora.load_corpus(
        arguments.corpus, lowercase=arguments.lowercase, encoding=arguments.encoding
    )
    keras = common.import_keras()
    keras.utils.set_random_seed(arguments.seed)
    checkpoints = textgen.Checkpoints(
        output.with_suffix(".checkpoints"),
        resume=arguments.resume,
        overwrite=arguments.overwrite and not arguments.resume,
    )
    if checkpoints.epoch >= arguments.epochs:
        raise ValueError(
            f"--epochs {arguments.epochs}: this training has done {checkpoints.epoch}; "
            "give a larger number to go on."
        )

    size = arguments.vocabulary_size
    vocabulary = textgen.Vocabulary.from_text(
        text, arguments.level, size, unknown="error" if size is None else "\ufffd"
    )
    train_ids, validation_ids = (
        vocabulary.encode(part if isinstance(part, str) else "\n".join(part))
        for part in common.split(text, arguments.validation, vocabulary, arguments)
    )
    length = arguments.sequence_length
    if length is None:
        length = _line_limit(train_ids, vocabulary) if arguments.lines else WINDOW
    train = _dataset(train_ids, vocabulary, arguments, length)
    validation = None
    if arguments.validation:
        validation = _dataset(validation_ids, vocabulary, arguments, length, train)
    rate = _learning_rate(keras, arguments, len(train))
    if arguments.resume:
        model = textgen.load(checkpoints.last)
        if model.vocabulary != vocabulary:
            raise ValueError(
                f"{checkpoints.last} was trained on another text than "
                f"{arguments.corpus}: it has other symbols."
            )
        model.optimizer.learning_rate = rate
    else:
        model = _model(vocabulary, arguments, length)
        model.compile(
            _optimizer(keras, arguments, rate),
            jit_compile="auto" if arguments.jit is None else arguments.jit,
        )
    prompt = _prompt(text, vocabulary, arguments)
    print(
        f"{len(text):,} characters, {len(vocabulary):,} symbols, "
        f"{len(train):,} batches an epoch, {model.count_params():,} weights"
    )
    with _interruptible(model):
        history = model.fit(
            train,
            epochs=arguments.epochs,
            initial_epoch=checkpoints.epoch,
            validation_data=validation,
            callbacks=[*_callbacks(keras, arguments, prompt), checkpoints],
            verbose=1 if sys.stdout.isatty() else 2,
        )
    if not all(map(math.isfinite, history.history.get("loss", []))):
        raise ValueError(
            "The loss became infinite or NaN, and nothing was saved: use a smaller "
            f"--learning-rate than {arguments.learning_rate}."
        )
    if not int(model.optimizer.iterations):
        print("Nothing was learned yet, and nothing is saved.")
        return
    model.save(output)
    more = ["textgen", "generate", str(output)]
    more += ["--count", "10"] if arguments.lines else ["--prompt", prompt]
    print(f"Saved {output}. To write with it:\n  {shlex.join(more)}")


def _check_options(arguments: argparse.Namespace) -> None:
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


def _model(vocabulary: Any, arguments: argparse.Namespace, length: int) -> Any:
    """Makes the model, not compiled."""
    return textgen.LanguageModel(
        vocabulary,
        cell=arguments.cell,
        units=arguments.units,
        dropout=arguments.dropout,
        recurrent_dropout=arguments.recurrent_dropout,
        weight_dropout=arguments.weight_dropout,
        embedding=arguments.embedding,
        layer_norm=arguments.layer_norm,
        tie_weights=arguments.tie_weights,
        return_sequences=arguments.many_to_many or arguments.lines,
        sequence_length=length,
        dtype=arguments.precision,
    )


def _prompt(text: str, vocabulary: Any, arguments: argparse.Namespace) -> str:
    """The beginning of the samples."""
    if arguments.prompt is not None:
        return completion.unescape(arguments.prompt)
    if arguments.lines:
        return ""
    first_line = text[:10_000].lstrip().split("\n")[0]
    return "".join(list(vocabulary.tokens(first_line))[:WINDOW])


def _callbacks(keras: Any, arguments: argparse.Namespace, prompt: str) -> list:
    """The callbacks of the training, in order."""
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        textgen.SampleText(
            prompt,
            arguments.temperatures,
            max_new_tokens=arguments.max_new_tokens,
        ),
    ]
    if arguments.early_stopping:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                patience=arguments.early_stopping, restore_best_weights=True
            )
        )
    if arguments.log:
        callbacks.append(
            keras.callbacks.CSVLogger(arguments.log, append=arguments.resume)
        )
    return callbacks


def _learning_rate(keras: Any, arguments: argparse.Namespace, batches: int) -> Any:
    """The rate or the schedule; `batches` is the number of them in an epoch."""
    rate = arguments.learning_rate
    if arguments.schedule == "constant" and not arguments.warmup_steps:
        return rate
    # The rate goes by the batches that were seen, with accumulation too.
    steps = arguments.epochs * batches - arguments.warmup_steps
    if steps < 1:
        raise ValueError(
            f"--warmup-steps {arguments.warmup_steps} must be less than the "
            f"{arguments.epochs * batches} steps of this training."
        )
    return keras.optimizers.schedules.CosineDecay(
        0.0 if arguments.warmup_steps else rate,
        steps,
        alpha=0.0 if arguments.schedule == "cosine" else 1.0,
        warmup_target=rate if arguments.warmup_steps else None,
        warmup_steps=arguments.warmup_steps,
    )


def _optimizer(keras: Any, arguments: argparse.Namespace, rate: Any) -> Any:
    """Adam as the options say."""
    accumulated = arguments.gradient_accumulation_steps
    return keras.optimizers.Adam(
        rate,
        clipvalue=arguments.clip_value,
        weight_decay=arguments.weight_decay or None,
        gradient_accumulation_steps=accumulated if accumulated > 1 else None,
    )


@contextlib.contextmanager
def _interruptible(model: Any) -> Iterator[None]:
    """Lets Ctrl-C end a training after its step, with the model whole.

    A KeyboardInterrupt could be raised, and lost, anywhere in Keras or TensorFlow. A
    second Ctrl-C raises it all the same.
    """

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        model.stop_training = True
        print("\nStopping; what was learned will be saved.", flush=True)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _line_limit(ids: Any, vocabulary: Any) -> int:
    """The length in symbols at which lines are cut, unless an option says otherwise.

    Each line takes as many steps as the longest, so one stray line of a megabyte would
    make every batch a megabyte wide.
    """
    newlines = np.flatnonzero(ids == vocabulary.ids.get("\n", -1))
    lengths = np.diff(newlines, prepend=-1, append=len(ids)) - 1
    usual = np.percentile(lengths[lengths > 0], 99) if lengths.any() else 0
    return max(LONG_LINE, math.ceil(2 * usual))


def _dataset(
    ids: Any,
    vocabulary: Any,
    arguments: argparse.Namespace,
    length: int,
    train: Any = None,
) -> Any:
    """Makes the dataset to train on; given that, the one to validate on."""
    rows, seed = arguments.batch_size, arguments.seed
    try:
        if arguments.lines:
            return _lines(ids, vocabulary, length, rows, seed)
        if arguments.many_to_many:
            if train is not None:  # it may be short, and is still to make a batch
                rows = max(1, min(rows, len(ids) // (2 * length)))
            return textgen.SequenceDataset(ids, length, rows, seed=seed)
        return textgen.WindowDataset(
            ids, length, arguments.sequence_stride, rows, seed=seed
        )
    except ValueError as error:
        part = "training" if train is None else "validation"
        raise ValueError(f"The {part} part of the text: {error}") from error


def _lines(ids: Any, vocabulary: Any, length: int, rows: int, seed: int) -> Any:
    """Makes a dataset of lines, with a warning if some are cut."""
    if "\n" not in vocabulary:
        raise ValueError("--lines needs a text of several lines.")

    def cut_at(steps: int | None) -> Any:
        return textgen.LineDataset(
            ids, vocabulary.ids["\n"], steps, batch_size=rows, seed=seed
        )

    dataset = cut_at(None)
    if dataset.sequence_length <= length:
        return dataset
    dataset = cut_at(length)
    if dataset.num_cut:
        print(
            f"textgen train: warning: {dataset.num_cut:,} of {dataset.num_examples:,} "
            f"lines are longer than {length:,} symbols and are cut there "
            "(--sequence-length sets another length)",
            file=sys.stderr,
        )
    return dataset
