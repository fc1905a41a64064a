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
from textgen.quiet import import_keras
from textgen.text import corpora

WINDOW = 40  # default of --sequence-length, in tokens

LONG_LINE = 64  # tokens; by default, no line up to this length is cut


def add_train(commands: Any) -> None:
    """Adds the command `train` to the parser."""
    train_options.add_train(commands).set_defaults(run=_train)


@lasting_output()
def _train(arguments: argparse.Namespace) -> None:
    arguments.overwrite |= arguments.resume  # the files of the training so far
    output = common.output_path(arguments)
    train_options.check_options(arguments)
    print(f"Reading {arguments.corpus}", flush=True)
    text = corpora.load_corpus(
        arguments.corpus, lowercase=arguments.lowercase, encoding=arguments.encoding
    )
    keras = import_keras()
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
                f"{arguments.corpus}: the vocabularies differ."
            )
        model.optimizer.learning_rate = rate
    else:
        model = _model(vocabulary, arguments, length)
        model.compile(
            _optimizer(keras, arguments, rate),
            jit_compile="auto" if arguments.jit is None else arguments.jit,
        )
    model.notes = {
        **common.corpus_notes(arguments),
        "lines": arguments.lines,
        "held_out": arguments.validation,
    }
    prompt = _prompt(text, vocabulary, arguments)
    print(
        f"{len(text):,} characters, a vocabulary of {len(vocabulary):,} tokens, "
        f"{len(train):,} batches per epoch, {model.count_params():,} weights"
    )
    with _interruptible(model):
        history = model.fit(
            train,
            epochs=arguments.epochs,
            initial_epoch=checkpoints.epoch,
            validation_data=validation,
            callbacks=[*_callbacks(keras, model, arguments, prompt), checkpoints],
            verbose=1 if sys.stdout.isatty() else 2,
        )
    if not all(map(math.isfinite, history.history.get("loss", []))):
        raise ValueError(
            "The loss became infinite or NaN, and the model was not saved: "
            f"--learning-rate {arguments.learning_rate} must be smaller."
        )
    if not int(model.optimizer.iterations):
        print("Stopped before the first training step: nothing was saved.")
        return
    model.save(output)
    _print_how_to_generate(output, prompt, arguments)


def _checkpoints(output: Any, arguments: argparse.Namespace) -> Any:
    """Returns the callback that keeps the state of the training."""
    folder = output.with_suffix(".checkpoints")
    try:
        checkpoints = textgen.Checkpoints(
            folder,
            resume=arguments.resume,
            overwrite=arguments.overwrite and not arguments.resume,
        )
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"--resume: the folder {folder} does not hold the state of a training. "
            "Start it without --resume."
        ) from error
    except FileExistsError as error:
        raise FileExistsError(
            f"The folder {folder} already contains a training: use --resume to "
            "continue it, --overwrite to replace it, or another --output."
        ) from error
    if checkpoints.epoch >= arguments.epochs:
        raise ValueError(
            f"--epochs {arguments.epochs} must be greater than {checkpoints.epoch}, "
            "the number of epochs that this training has done."
        )
    return checkpoints


def _datasets(
    text: str, vocabulary: Any, arguments: argparse.Namespace
) -> tuple[Any, Any, int]:
    """Returns the datasets of training and validation, and their sequence length."""
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
    """Builds the model, not compiled."""
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
    """Returns the beginning of the samples."""
    if arguments.prompt is not None:
        return completion.unescape(arguments.prompt)
    if arguments.lines:
        return ""
    first_line = text[:10_000].lstrip().split("\n")[0]
    return "".join(list(vocabulary.tokens(first_line))[:WINDOW])


def _callbacks(
    keras: Any, model: Any, arguments: argparse.Namespace, prompt: str
) -> list:
    """Returns the callbacks of the training, in order."""
    callbacks = [
        keras.callbacks.TerminateOnNaN(),
        textgen.SampleText(
            prompt,
            arguments.temperatures,
            max_new_tokens=arguments.max_new_tokens,
        ),
    ]
    stopping = None
    if arguments.early_stopping:
        stopping = keras.callbacks.EarlyStopping(
            patience=arguments.early_stopping, restore_best_weights=True
        )
        callbacks.append(stopping)
    if arguments.log:
        callbacks.append(
            keras.callbacks.CSVLogger(arguments.log, append=arguments.resume)
        )
    callbacks.append(_note_taker(keras, model, stopping))
    return callbacks


def _note_taker(keras: Any, model: Any, stopping: Any) -> Any:
    """Returns a callback that notes the number of epochs and the validation loss."""

    def note_epoch(epoch: int, logs: dict) -> None:
        model.notes["epochs"] = epoch + 1
        if "val_loss" in logs:
            model.notes["held_out_nats"] = float(logs["val_loss"])

    def note_best(_: Any) -> None:
        # At the end, early stopping restores the weights of the best epoch.
        if stopping is not None and stopping.best is not None:
            model.notes["held_out_nats"] = float(stopping.best)

    return keras.callbacks.LambdaCallback(
        on_epoch_end=note_epoch, on_train_end=note_best
    )


def _print_how_to_generate(
    output: Any, prompt: str, arguments: argparse.Namespace
) -> None:
    more = ["textgen", "generate", str(output)]
    more += ["--count", "10"] if arguments.lines else ["--prompt", prompt]
    print(
        f"Saved {output}. The folder {output.with_suffix('.checkpoints')} holds the "
        f"state of the training, for --resume.\nTo generate text:\n  {shlex.join(more)}"
    )


def _learning_rate(keras: Any, arguments: argparse.Namespace, batches: int) -> Any:
    """Returns the learning rate or its schedule; an epoch has `batches` batches."""
    rate = arguments.learning_rate
    if arguments.schedule == "constant" and not arguments.warmup_steps:
        return rate
    # The schedule counts batches, also with gradient accumulation.
    steps = arguments.epochs * batches - arguments.warmup_steps
    if steps < 1:
        raise ValueError(
            f"--warmup-steps {arguments.warmup_steps} must be less than "
            f"{arguments.epochs * batches}, the number of batches of this training."
        )
    return keras.optimizers.schedules.CosineDecay(
        0.0 if arguments.warmup_steps else rate,
        steps,
        alpha=0.0 if arguments.schedule == "cosine" else 1.0,
        warmup_target=rate if arguments.warmup_steps else None,
        warmup_steps=arguments.warmup_steps,
    )


def _optimizer(keras: Any, arguments: argparse.Namespace, rate: Any) -> Any:
    """Returns the optimizer."""
    accumulated = arguments.gradient_accumulation_steps
    return keras.optimizers.Adam(
        rate,
        clipvalue=arguments.clip_value,
        weight_decay=arguments.weight_decay or None,
        gradient_accumulation_steps=accumulated if accumulated > 1 else None,
    )


@contextlib.contextmanager
def _interruptible(model: Any) -> Iterator[None]:
    """Makes Ctrl-C end the training after the current step, so the model is valid.

    A KeyboardInterrupt could be raised, and lost, anywhere in Keras or TensorFlow. Only
    a second Ctrl-C raises it.
    """

    def stop(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        model.stop_training = True
        print("\nStopping: the model will be saved.", flush=True)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _line_limit(ids: Any, vocabulary: Any) -> int:
    """Returns the length in tokens at which longer lines are cut by default.

    All lines of a batch are padded to the longest line of the text, so without a limit
    one line of a megabyte would make every batch a megabyte wide.
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
    """Builds the training dataset, or, if that is given, the validation dataset."""
    rows, seed = arguments.batch_size, arguments.seed
    try:
        if arguments.lines:
            return _lines(ids, vocabulary, length, rows, seed)
        if arguments.many_to_many:
            if train is not None:  # a short text must fill one batch
                rows = max(1, min(rows, len(ids) // (2 * length)))
            return textgen.SequenceDataset(ids, length, rows, seed=seed)
        return textgen.WindowDataset(
            ids, length, arguments.sequence_stride, rows, seed=seed
        )
    except ValueError as error:
        part = "training part"
        if train is not None:
            part = f"validation part (--validation {arguments.validation})"
        raise ValueError(f"The {part} of the text: {error}") from error


def _lines(ids: Any, vocabulary: Any, length: int, rows: int, seed: int) -> Any:
    """Builds a dataset of lines; prints a warning if some lines are cut."""
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
            f"lines are longer than {length:,} tokens and are cut there "
            "(--sequence-length sets another length)",
            file=sys.stderr,
        )
    return dataset
