"""`textgen train`."""

import argparse
import os
import shlex
import warnings
from pathlib import Path
from typing import Any

import textgen
from textgen.cli import (
    common,
    completion,
    launch,
    train_checks,
    train_choice,
    train_from,
    train_options,
    train_safety,
    train_watching,
)
from textgen.cli.streams import lasting_output
from textgen.messages import printable
from textgen.place import number_of_processes
from textgen.quiet import import_keras
from textgen.text import sources

NO_LIMIT = 10**6  # epochs of a training that ends by the clock

PROMPT = 40  # tokens of the first line, as default of --prompt


def add_train(commands: Any) -> None:
    """Adds the command `train` to the parser."""
    train_options.add_train(commands).set_defaults(run=_train)


def _train(arguments: argparse.Namespace) -> int:
    if arguments.distribute:
        return launch.launch(launch.without_place(arguments.argv), arguments)
    for name in ("coordinator", "processes", "process_id"):
        if getattr(arguments, name) is not None:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"{option} needs --distribute.")
    if arguments.devices == "all":
        os.environ.setdefault("KERAS_BACKEND", "jax")
        launch.check_jax("--devices all needs")
    if number_of_processes() > 1 and arguments.epochs is None:
        raise ValueError(
            "Several processes train for a number of --epochs: --minutes needs one "
            "clock."
        )
    _train_here(arguments)
    return 0


@lasting_output()
def _train_here(arguments: argparse.Namespace) -> None:
    arguments.overwrite |= arguments.resume  # the files of the training so far
    arguments.steps_per_epoch = None
    if arguments.dry_run:
        train_checks.check_values(arguments)
        print(_dry_run(arguments))
        return
    output = common.output_path(arguments)
    folder = train_checks.checkpoint_folder(output, arguments)
    train_checks.check_values(arguments)
    train_watching.check(arguments)
    command = train_safety.command_of(arguments.argv, "--resume")
    with (
        train_safety.Guard(output) as guard,
        common.short_warnings(arguments.parser),
    ):
        if arguments.resume:
            guard.message = f"Stopped. To continue: {command}"
        # Later, if a model decides how it is read.
        later = arguments.resume or arguments.source_model
        corpus = None if later else _read(arguments)
        keras = import_keras()
        if arguments.devices == "all" and number_of_processes() == 1:
            textgen.use_all_devices()
        _make_reproducible(keras, arguments)
        checkpoints = _checkpoints(folder, command, arguments)
        model, train, validation, prompt, corpus = _prepare(
            keras, corpus, checkpoints, arguments
        )
        train_checks.check_space(model, output, folder, arguments.keep)
        callbacks, budget, verbose = _callbacks(keras, model, corpus, arguments, prompt)
        unsaved = f"Stopped before the model was saved. To save it: {command}"
        if verbose == 0:
            print(f"Training on {model.computation()}", flush=True)
        try:
            model.fit(
                train,
                epochs=arguments.epochs or NO_LIMIT,
                steps_per_epoch=arguments.steps_per_epoch,
                validation_data=validation,
                callbacks=[*callbacks, guard.callback(keras, unsaved), checkpoints],
                verbose=verbose,
            )
        except textgen.TrainingDivergedError as error:
            raise train_safety.diverged(error, arguments) from error
        except OSError as error:
            if not guard.trained:
                raise
            warnings.warn(str(error), stacklevel=2)  # no space for the last checkpoint
        guard.saving = True
        # Only checkpoints need them.
        options, curve = (model.notes.pop(name) for name in ("options", "curve"))
        train_safety.save(model, output, checkpoints)
        if budget is not None:
            print(train_choice.outcome(curve, options["minutes"]))
        _print_how_to_generate(output, model, prompt, checkpoints)
        guard.finish()


def _read(arguments: argparse.Namespace, model: Any = None) -> Any:
    """Reads the corpus; returns a `PreparedCorpus`.

    Args:
        arguments: The parsed arguments.
        model: The model that is trained further, or `None`.
    """
    print(f"Reading {sources.shortened(arguments.corpus)}", flush=True)
    corpus = common.prepared_corpus(arguments, train_from.tokenizer_of(model))
    if corpus.path is not None and str(corpus.path) not in arguments.corpus:
        print(f"The ids are in {printable(corpus.path)}", flush=True)
    return corpus


def _dry_run(arguments: argparse.Namespace) -> str:
    """Returns the choice, as a command and in Python."""
    if arguments.source_model is not None:
        raise ValueError("--dry-run shows no choice for --from: leave one of them out.")
    corpus = _read(arguments)
    _make_reproducible(import_keras(), arguments)
    choice = train_choice.complete(arguments, corpus)
    return train_choice.explain(choice, arguments)


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
    if arguments.epochs is not None and arguments.epochs < started:
        raise ValueError(
            f"--epochs {arguments.epochs} must be at least {started}, the number of "
            "epochs that this training has started."
        )
    return checkpoints


def _prepare(
    keras: Any, corpus: Any, checkpoints: Any, arguments: argparse.Namespace
) -> tuple[Any, Any, Any, str, Any]:
    """Returns model, datasets of training and validation, prompt, and the corpus."""
    command = shlex.join(["textgen", *arguments.argv])
    model = textgen.load(checkpoints.last) if arguments.resume else None
    before = model.notes if model is not None else {}
    train_choice.restore(arguments, before.get("options", {}))
    source = None if arguments.resume else train_from.load(arguments)
    # That of a resumed training is extended already.
    corpus = train_from.with_symbols_of(
        source or model, corpus or _read(arguments, source or model), arguments
    )
    vocabulary = corpus.tokenizer
    notes = textgen.training_notes(arguments.corpus, corpus, arguments.seed, command)
    notes |= common.corpus_notes(arguments)
    if arguments.source_model is not None:
        notes["trained_from"] = sources.title(arguments.source_model)
    if model is not None:
        train_checks.check_text(notes, before, checkpoints, arguments)
        train_checks.check_options(arguments, before, checkpoints)
    train_checks.check_memory(arguments, len(vocabulary))
    # An error comes early.
    vocabulary.encode(_prompt(corpus, arguments), match_case=False)
    choice = None
    if "options" not in before:
        choice = _choose(keras, corpus, arguments)
    setup = train_choice.setup_of(arguments)
    labels = train_from.labels_of(source or model, corpus, arguments)
    parts = setup.split(corpus, arguments.validation, arguments.seed, labels)
    train, validation, length = setup.datasets(*parts, vocabulary, arguments.seed)
    if choice is not None and arguments.epochs is None:
        arguments.steps_per_epoch = choice.steps_per_epoch(len(train))
    notes |= {
        "lines": arguments.lines,
        "held_out": arguments.validation,
        "split": _split_note(arguments),
        "options": train_checks.options_to_repeat(arguments, length),
        "curve": [],
    }
    if model is None:
        model = train_from.model_for(source, vocabulary, labels, setup, length)
        model.compile(
            setup.optimizer(_learning_rate(keras, arguments, len(train))),
            jit_compile="auto" if arguments.jit is None else arguments.jit,
            sampled_softmax=setup.sampled_softmax,
        )
    else:
        if model.vocabulary != vocabulary:  # an old checkpoint lacks the options
            raise ValueError(
                f"{checkpoints.last} was trained on another text than "
                f"{sources.shortened(arguments.corpus)}: the vocabularies differ."
            )
        _change_optimizer(keras, model, arguments, len(train))
        progress = ("epochs", "steps", "held_out_nats", "curve")
        notes |= {key: before[key] for key in progress if key in before}
    model.notes = notes
    prompt = _prompt(corpus, arguments)
    print(
        f"{corpus.characters:,} characters, a vocabulary of {len(vocabulary):,} "
        f"tokens, {len(train):,} batches per pass, {model.count_params():,} weights"
    )
    return model, train, validation, prompt, corpus


def _choose(keras: Any, corpus: Any, arguments: argparse.Namespace) -> Any:
    """Chooses the options that are not given, prints the choice, and returns it."""
    choice = train_choice.complete(arguments, corpus)
    train_checks.check_combinations(arguments)
    train_checks.check_memory(arguments, len(corpus.tokenizer))
    if choice is not None:
        print(choice)
    _make_reproducible(keras, arguments)  # the choice has used random numbers
    return choice


def _split_note(arguments: argparse.Namespace) -> str:
    """Returns how the text was split into training and validation."""
    if not arguments.validation:
        return "all for training"
    share = f"{100 * arguments.validation:.4g} %"
    if arguments.lines:
        return f"{share} of the lines for validation, drawn with the seed"
    return f"the last {share} of the text for validation"


def _prompt(corpus: Any, arguments: argparse.Namespace) -> str:
    """Returns the beginning of the samples."""
    if arguments.prompt is not None:
        return completion.unescape(arguments.prompt)
    if arguments.lines or corpus.labels is not None:
        return ""
    vocabulary = corpus.tokenizer
    start = vocabulary.decode(corpus.ids[:10_000]).lstrip()
    return vocabulary.decode(vocabulary.encode(start.split("\n")[0])[:PROMPT])


def _callbacks(
    keras: Any, model: Any, corpus: Any, arguments: argparse.Namespace, prompt: str
) -> tuple[list, Any, int]:
    """Returns the callbacks, in order, the `TimeBudget`, and `verbose` of `fit`."""
    budget = None
    if arguments.minutes is not None:
        budget = textgen.TimeBudget(
            arguments.minutes,
            started=arguments.started,
            reserve=train_choice.SAVING,
        )
    length = corpus.characters / max(1, len(corpus))
    callbacks, verbose = train_watching.callbacks(
        keras, model, arguments, prompt, length, budget
    )
    stopping = None
    if arguments.validation and (arguments.early_stopping or not arguments.windows):
        # Without --early-stopping, it only keeps the weights of the best epoch.
        stopping = keras.callbacks.EarlyStopping(
            patience=arguments.early_stopping or NO_LIMIT, restore_best_weights=True
        )
        callbacks.append(stopping)
    callbacks.append(_note_taker(keras, model, stopping))
    return callbacks, budget, verbose


def _note_taker(keras: Any, model: Any, stopping: Any) -> Any:
    """Returns a callback that notes the progress and the validation loss."""

    def note_epoch(epoch: int, logs: dict) -> None:
        model.notes["epochs"] = epoch + 1
        model.notes["steps"] = int(model.optimizer.iterations)
        if "val_loss" in logs:
            model.notes["held_out_nats"] = float(logs["val_loss"])
            model.notes["curve"].append(round(float(logs["val_loss"]), 4))

    def note_best(_: Any) -> None:
        # At the end, early stopping restores the weights of the best epoch.
        if stopping is not None and stopping.best is not None:
            model.notes["held_out_nats"] = float(stopping.best)

    return keras.callbacks.LambdaCallback(
        on_epoch_end=note_epoch, on_train_end=note_best
    )


def _print_how_to_generate(
    output: Path, model: Any, prompt: str, checkpoints: Any
) -> None:
    more = ["textgen", "generate", str(output)]
    more += ["--count", "10"] if model.start_step else ["--prompt", prompt]
    if model.labels:
        more += ["--label", model.labels[0]]
    print(
        f"Saved {output}. The folder {checkpoints.folder} holds the state of the "
        f"training, for --resume.\nTo generate text:\n  {shlex.join(more)}"
    )


def _learning_rate(keras: Any, arguments: argparse.Namespace, batches: int) -> Any:
    """Returns the learning rate or its schedule; an epoch has `batches` batches."""
    rate, warmup = arguments.learning_rate, arguments.warmup_steps
    cosine = arguments.schedule == "cosine"
    if arguments.minutes is not None or not (cosine or warmup):
        return rate
    # The schedule counts batches, also with gradient accumulation.
    batches *= arguments.epochs
    if warmup is None:
        warmup = 0 if arguments.windows else batches // 30
    if batches - warmup < 1:
        raise ValueError(
            f"--warmup-steps {warmup} must be less than {batches}, the number of "
            "batches of this training."
        )
    return keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else rate,
        batches - warmup,
        alpha=0.0 if cosine else 1.0,
        warmup_target=rate if warmup else None,
        warmup_steps=warmup,
    )


def _change_optimizer(
    keras: Any, model: Any, arguments: argparse.Namespace, batches: int
) -> None:
    """Gives the optimizer of a resumed training the options of this run."""
    optimizer = model.optimizer
    optimizer.clipvalue = arguments.clip_value
    optimizer.global_clipnorm = arguments.clip_norm
    optimizer.weight_decay = arguments.weight_decay or None
    rate = _learning_rate(keras, arguments, batches)
    scheduled = isinstance(optimizer.get_config()["learning_rate"], dict)
    if scheduled and isinstance(rate, float):
        # Keras cannot replace a schedule by a number.
        rate = keras.optimizers.schedules.CosineDecay(rate, 1, alpha=1.0)
    optimizer.learning_rate = rate
