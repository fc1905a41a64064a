"""The options of `textgen train` that the user leaves to the program."""

import argparse
import dataclasses
import math
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

import textgen
from textgen.cli import common, options, train_options

CHOICES = (
    *("cell", "units", "embedding", "tie_weights", "layer_norm", "dropout"),
    *("recurrent_dropout", "weight_dropout", "stateful", "sequence_length"),
    *("sequence_stride", "batch_size", "learning_rate", "beta_2", "weight_decay"),
    *("clip_value", "clip_norm", "gradient_accumulation_steps", "precision"),
    "sampled_softmax",
)

COURSE_EPOCHS = 10

SAVING = 1.0  # seconds to load the best weights and to write the model

_KINDS = {"windows": "windows", "many_to_many": "sequences", "lines": "lines"}


def kind_of(arguments: argparse.Namespace) -> str | None:
    """Returns the kind of data for `Setup`, or `None` if no option gives it."""
    for option, kind in _KINDS.items():
        if getattr(arguments, option):
            return kind
    return None


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the fields of `Setup` that the user has given."""
    fields = {
        name: getattr(arguments, name)
        for name in CHOICES
        if getattr(arguments, name) is not None
    }
    if "embedding" in fields:
        fields["embedding"] = fields["embedding"] or None  # 0: one-hot
    if "units" in fields:
        fields["units"] = tuple(fields["units"])
    if "clip_norm" in fields:
        fields.setdefault("clip_value", None)
    kind = kind_of(arguments)
    return {**fields, "kind": kind} if kind else fields


def setup_of(arguments: argparse.Namespace) -> Any:
    """Returns the `Setup` of the options; what is not given has its default."""
    from textgen.advice.setup import Setup

    return Setup(**given(arguments))


def take(arguments: argparse.Namespace, setup: Any) -> None:
    """Gives the options the values of a `Setup`."""
    for name in CHOICES:
        value = getattr(setup, name)
        if name == "units":
            value = list(value)
        setattr(arguments, name, value)
    arguments.embedding = arguments.embedding or 0
    for option, kind in _KINDS.items():
        setattr(arguments, option, kind == setup.kind)


def complete(arguments: argparse.Namespace, corpus: Any) -> Any:
    """Chooses all options that the user has not given.

    Args:
        arguments: The parsed arguments; they are completed. `minutes` is then `None`
            unless the clock ends the training and sets the learning rate.
        corpus: `PreparedCorpus`.

    Returns:
        The `textgen.advice.suggestion.Suggestion`; `None` with `--windows`.
    """
    if arguments.windows:
        from textgen.advice import rules  # imports Keras

        symbols = len(corpus.tokenizer)
        if arguments.embedding is None and symbols > rules.MANY_TOKENS:
            arguments.embedding = rules.EMBEDDING
            print(
                f"The vocabulary has {symbols:,} tokens, so the input is an embedding "
                f"of size {rules.EMBEDDING} (--embedding 0: one-hot)."
            )
        take(arguments, setup_of(arguments))
        if arguments.validation is None:
            arguments.validation = 0.1
        if arguments.minutes is None and arguments.epochs is None:
            arguments.epochs = COURSE_EPOCHS
        return None
    spent = (time.monotonic() - arguments.started) / 60
    minutes = arguments.minutes or train_options.MINUTES
    choice = textgen.suggest(
        corpus,
        None,
        max(minutes - spent, minutes / 2),
        validation=arguments.validation,
        epochs=arguments.epochs,
        **given(arguments),
    )
    choice = dataclasses.replace(choice, minutes=minutes)
    take(arguments, choice.setup)
    arguments.validation = choice.validation
    if arguments.epochs is None:
        arguments.minutes = minutes
    if arguments.minutes is None and arguments.schedule is None:
        arguments.schedule = "cosine"
    return choice


def restore(arguments: argparse.Namespace, before: Mapping[str, Any]) -> None:
    """Gives a resumed training the options that its command does not repeat.

    Args:
        arguments: The parsed arguments; they are completed.
        before: The options of the checkpoint.
    """
    kinds = [name for name in _KINDS if getattr(arguments, name)]
    for name, value in before.items():
        if name == "epochs" and arguments.minutes is not None:
            continue  # the clock ends this training
        default = arguments.parser.get_default(name)
        unset = getattr(arguments, name, default) == default
        if unset and not (kinds and name in _KINDS):
            setattr(arguments, name, value)
    if before:
        # A checkpoint of an older version lacks some of them.
        take(arguments, setup_of(arguments))


def explain(choice: Any, arguments: argparse.Namespace) -> str:
    """Returns the choice, as a command and in Python, for `--dry-run`."""
    from textgen.advice import explanation

    setup = setup_of(arguments)
    words = _options(setup)
    if arguments.epochs is not None:
        words = ["--epochs", str(arguments.epochs), *words]
    if arguments.minutes is not None:
        words = ["--minutes", _number(arguments.minutes), *words]
    words += ["--validation", _number(arguments.validation)]
    corpus = arguments.corpus
    read = [repr(corpus if corpus[1:] else corpus[0])]
    defaults = arguments.parser.get_default
    chosen = {**common.text_options(arguments), **common.vocabulary_options(arguments)}
    for option, name in common.TEXT_OPTIONS.items():
        value = getattr(arguments, option)
        if value == defaults(option):
            continue
        for each in value if isinstance(value, list) else [value]:
            words += [options.option_name(option)]
            if each is not True:
                words.append(str(each))
        read.append(f"{name}={chosen[name]!r}")
    paragraphs = [str(choice)] if choice is not None else []
    paragraphs += [
        "The same training as a command:",
        _command(corpus, words),
        "In Python:",
        explanation.python(
            setup,
            f"textgen.prepare({', '.join(read)})",
            arguments.validation,
            arguments.minutes,
            arguments.epochs,
            labelled=bool(arguments.label_field),
        ),
    ]
    return "\n\n".join(paragraphs)


def _options(setup: Any) -> list[str]:
    """Returns the options of `textgen train` for a setup."""
    [kind] = [option for option, kind in _KINDS.items() if kind == setup.kind]
    words = [options.option_name(kind)]
    for field in CHOICES:
        value, option = getattr(setup, field), options.option_name(field)
        if field == "embedding":
            value = value or 0
        if value is None:
            continue
        if value is True:
            words.append(option)
        elif value is False:
            words.append(f"--no-{option[2:]}")
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [option, *map(str, value)]
        else:
            words += [option, _number(value)]
    return words


def _number(value: Any) -> str:
    """Returns the shortest text that gives the same value."""
    whole = isinstance(value, float) and value.is_integer()
    return f"{value:.0f}" if whole else str(value)


def _command(corpus: Sequence[str], words: Sequence[str]) -> str:
    """Returns a command in several lines."""
    # Not options: a file with the name -a is also ./-a.
    names = [f"./{each}" if re.match("-.", each) else each for each in corpus]
    lines = [shlex.join(["textgen", "train", *names])]
    for word in words:
        if word.startswith("--") or not lines[1:]:
            lines.append(shlex.quote(word))
        else:
            lines[-1] += f" {shlex.quote(word)}"
    return " \\\n    ".join(lines)


def outcome(losses: Sequence[float], minutes: float | None) -> str:
    """Returns what a training has reached, and what more time would bring.

    Args:
        losses: Sequence of float. The held-out losses of all epochs.
        minutes: float or `None`. The time of the training, if the clock ended it.
    """
    if not losses:
        return "Nothing was held out, so it is not known how good the model is."
    best = min(losses)
    report = (
        f"Held-out loss: {best:.4f} nats per token, {best / math.log(2):.3f} bits, "
        f"perplexity {math.exp(min(best, 700)):.2f}."
    )
    if minutes is None or len(losses) < 4:
        return report
    at = max(i for i, loss in enumerate(losses) if loss < best + SAME)
    if at < len(losses) - max(1, len(losses) // 6):
        return (
            f"{report} It was lowest after {(at + 1) / len(losses):.0%} of the time, "
            "and the model has these weights. More time would not help; more text "
            "would."
        )
    # Annealed from the start, a training of half the time would have got further than
    # this one at its half.
    gain = SECOND_HALF * (losses[(len(losses) - 1) // 2] - best)
    if gain < 0.005:
        return f"{report} It was hardly falling any more."
    return (
        f"{report} It was still falling: {2 * minutes:g} minutes would bring about "
        f"{best - gain:.2f}."
    )


SECOND_HALF = 0.35  # see docs/performance.md

SAME = 0.005  # nats: held-out losses at the end of a training vary by so much
