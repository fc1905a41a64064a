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
from textgen.cli import common, completion, train_options
from textgen.cli.streams import lasting_output
from textgen.text import corpora

WINDOW = 40  # symbols, unless --sequence-length says otherwise

LONG_LINE = 64  # symbols; a line up to this length is never cut by default


def add_train(commands: Any) -> None:
    """Adds the command `train` to the parser."""
    train_options.add_train(commands).set_defaults(run=_train)


@lasting_output()
def _train(arguments: argparse.Namespace) -> None:
    arguments.overwrite |= arguments.resume  # what an earlier part of it has written
    output = common.output_path(arguments)
    train_options.check_options(arguments)
    print(f"Reading {arguments.corpus}", flush=True)
    text = corpora.load_corpus(
        arguments.corpus, lowercase=arguments.lowercase, encoding=arguments.encoding
    )
    keras = common.import_keras()
    keras.utils.set_random_seed(arguments.seed)
    checkpoints = _checkpoints(output, arguments)

    size = arguments.vocabulary_size
    vocabulary = textgen.Vocabulary.from_text(
        text, arguments.level, size, unknown="error" if size is None else "\ufffd"
    )
    train, validation, length = _datasets(text, vocabulary, arguments)
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
    _print_how_to_generate(output, prompt, arguments)


def _checkpoints(output: Any, arguments: argparse.Namespace) -> Any:
    """Makes the object that keeps the state of the training."""
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
    return checkpoints


def _datasets(
    text: str, vocabulary: Any, arguments: argparse.Namespace
) -> tuple[Any, Any, int]:
    """Makes the datasets to train and to validate on; returns their length, too."""
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
    return train, validation, length


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


def _print_how_to_generate(
    output: Any, prompt: str, arguments: argparse.Namespace
) -> None:
    more = ["textgen", "generate", str(output)]
    more += ["--count", "10"] if arguments.lines else ["--prompt", prompt]
    print(
        f"Saved {output}. {output.with_suffix('.checkpoints')} has the state of the "
        f"training, for --resume.\nTo generate text:\n  {shlex.join(more)}"
    )


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
