"""`textgen train`."""

import argparse
import math
import shlex
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import textgen
from textgen.cli import common, completion, train_checks, train_options, train_safety
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
    train_checks.check_replaceable(output, "--output")
    folder = train_checks.checkpoint_folder(output, arguments)
    train_options.check_options(arguments)
    if arguments.log:
        train_checks.check_replaceable(arguments.log, "--log")
    command = train_safety.command_of(arguments.argv, "--resume")
    with train_safety.Guard(output) as guard, train_safety.short_warnings():
        if arguments.resume:
            guard.message = f"Stopped. To continue: {command}"
        print(f"Reading {arguments.corpus}", flush=True)
        text = corpora.load_corpus(arguments.corpus, encoding=arguments.encoding)
        keras = import_keras()
        _make_reproducible(keras, arguments)
        checkpoints = _checkpoints(folder, command, arguments)
        model, train, validation, prompt = _prepare(keras, text, checkpoints, arguments)
        train_checks.check_space(model, output, folder, arguments.keep)
        callbacks = _callbacks(keras, model, arguments, prompt)
        unsaved = f"Stopped before the model was saved. To save it: {command}"
        try:
            model.fit(
                train,
                epochs=arguments.epochs,
                validation_data=validation,
                callbacks=[*callbacks, guard.callback(keras, unsaved), checkpoints],
                verbose=1 if sys.stdout.isatty() else 2,
            )
        except textgen.TrainingDivergedError as error:
            raise train_safety.diverged(error, arguments) from error
        except OSError as error:
            if not guard.trained:
                raise
            warnings.warn(str(error), stacklevel=2)  # no space for the last checkpoint
        guard.saving = True
        del model.notes["options"]  # only checkpoints need them
        train_safety.save(model, output, checkpoints)
        _print_how_to_generate(output, prompt, checkpoints, arguments)
        guard.finish()


def _make_reproducible(keras: Any, arguments: argparse.Namespace) -> None:
    """Sets the seed, and chooses deterministic operations."""
    if arguments.deterministic:
        from textgen import backend

        backend.make_deterministic()
    keras.utils.set_random_seed(arguments.seed)


def _checkpoints(folder: Path, command: str, arguments: argparse.Namespace) -> Any:
    """Returns the callback that keeps the state of the training."""
    try:
        checkpoints = textgen.Checkpoints(
            folder,
            every=arguments.every,
            keep=arguments.keep,
            resume=arguments.resume,
            overwrite=arguments.overwrite and not arguments.resume,
            how_to_resume=command,
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
    started = checkpoints.epoch + (checkpoints.step > 0)
    if arguments.epochs < started:
        raise ValueError(
            f"--epochs {arguments.epochs} must be at least {started}, the number of "
            "epochs that this training has started."
        )
    return checkpoints


def _prepare(
    keras: Any, text: str, checkpoints: Any, arguments: argparse.Namespace
) -> tuple[Any, Any, Any, str]:
    """Returns the model, the datasets of training and validation, and the prompt."""
    command = shlex.join(["textgen", *arguments.argv])
    notes = {
        **textgen.training_notes(arguments.corpus, text, arguments.seed, command),
        **common.corpus_notes(arguments),
        "lines": arguments.lines,
        "held_out": arguments.validation,
        "split": _split_note(arguments),
    }
    model = textgen.load(checkpoints.last) if arguments.resume else None
    if model is not None:
        train_checks.check_text(notes, model.notes, checkpoints, arguments.corpus)
        train_checks.check_options(arguments, model.notes, checkpoints)
    text = text.lower() if arguments.lowercase else text
    size = arguments.vocabulary_size
    vocabulary = textgen.Vocabulary.from_text(
        text, arguments.level, size, unknown="error" if size is None else "\ufffd"
    )
    train_checks.check_memory(arguments, len(vocabulary))
    train, validation, length = _datasets(text, vocabulary, arguments)
    notes["options"] = train_checks.options_to_repeat(arguments, length)
    if model is None:
        model = _model(vocabulary, arguments, length)
        model.compile(
            _optimizer(keras, arguments, _learning_rate(keras, arguments, len(train))),
            jit_compile="auto" if arguments.jit is None else arguments.jit,
        )
    else:
        if model.vocabulary != vocabulary:  # an old checkpoint lacks the options
            raise ValueError(
                f"{checkpoints.last} was trained on another text than "
                f"{arguments.corpus}: the vocabularies differ."
            )
        _change_optimizer(keras, model, arguments, len(train))
        progress = ("epochs", "steps", "held_out_nats")
        notes |= {key: model.notes[key] for key in progress if key in model.notes}
    model.notes = notes
    prompt = _prompt(text, vocabulary, arguments)
    print(
        f"{len(text):,} characters, a vocabulary of {len(vocabulary):,} tokens, "
        f"{len(train):,} batches per epoch, {model.count_params():,} weights"
    )
    return model, train, validation, prompt


def _split_note(arguments: argparse.Namespace) -> str:
    """Returns how the text was split into training and validation."""
    if not arguments.validation:
        return "all for training"
    share = f"{100 * arguments.validation:.4g} %"
    if arguments.lines:
        return f"{share} of the lines for validation, drawn with the seed"
    return f"the last {share} of the text for validation"


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
        textgen.SampleText(
            prompt,
            arguments.temperatures,
            max_new_tokens=arguments.max_new_tokens,
            seed=arguments.seed,
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
            train_safety.log_callback(keras, arguments.log, arguments.resume)
        )
    callbacks.append(_note_taker(keras, model, stopping))
    return callbacks


def _note_taker(keras: Any, model: Any, stopping: Any) -> Any:
    """Returns a callback that notes the progress and the validation loss."""

    def note_epoch(epoch: int, logs: dict) -> None:
        model.notes["epochs"] = epoch + 1
        model.notes["steps"] = int(model.optimizer.iterations)
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
    output: Path, prompt: str, checkpoints: Any, arguments: argparse.Namespace
) -> None:
    more = ["textgen", "generate", str(output)]
    more += ["--count", "10"] if arguments.lines else ["--prompt", prompt]
    print(
        f"Saved {output}. The folder {checkpoints.folder} holds the state of the "
        f"training, for --resume.\nTo generate text:\n  {shlex.join(more)}"
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


def _change_optimizer(
    keras: Any, model: Any, arguments: argparse.Namespace, batches: int
) -> None:
    """Gives the optimizer of a resumed training the options of this run."""
    optimizer = model.optimizer
    optimizer.clipvalue = arguments.clip_value
    optimizer.weight_decay = arguments.weight_decay or None
    rate = _learning_rate(keras, arguments, batches)
    scheduled = isinstance(optimizer.get_config()["learning_rate"], dict)
    if scheduled and isinstance(rate, float):
        # Keras cannot replace a schedule by a number.
        rate = keras.optimizers.schedules.CosineDecay(rate, 1, alpha=1.0)
    optimizer.learning_rate = rate


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
