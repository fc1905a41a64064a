"""`textgen train --from MODEL`: a trained model is trained further on another text."""

import argparse
from typing import Any

import textgen
from textgen.cli import options, train_choice
from textgen.messages import printable
from textgen.models import catalogue
from textgen.text import preparing
from textgen.text.prepared import PreparedCorpus

# Of Adam: that of recipes/sonnets-large.py. A higher one would spoil what the model has
# learned.
LEARNING_RATE = 1e-3

MAX_NAMED = 10  # symbols that a message names


def load(arguments: argparse.Namespace) -> Any:
    """Returns the model of `--from`, or `None`; the options get its values.

    Raises:
        FileNotFoundError: The model does not exist.
        ValueError: It is another kind of model, or an option contradicts it.
    """
    name = arguments.source_model
    if name is None:
        if arguments.extend_vocabulary:
            raise ValueError("--extend-vocabulary needs --from.")
        return None
    model: Any = textgen.load(catalogue.find(name))
    if not isinstance(model, textgen.LanguageModel):
        raise ValueError(
            f"--from {name}: only a LanguageModel can be trained further, and this is "
            f"a {type(model).__name__}."
        )
    values = {
        "cell": model.cell,
        "units": list(model.units),
        "embedding": model.embedding or 0,
        "tie_weights": model.tie_weights,
        "layer_norm": model.layer_norm,
        "precision": model.dtype_policy.name,
    }
    kind = None
    if not model.return_sequences:
        kind, values["sequence_length"] = "windows", model.sequence_length
    elif model.start_step:
        kind = "lines"
    elif train_choice.kind_of(arguments) is None:
        kind = "many_to_many"
    if kind is not None:
        values[kind] = True
    for option, value in values.items():
        given = getattr(arguments, option)
        if given not in (None, False, value):
            raise ValueError(
                f"{options.option_name(option)} contradicts --from {name}: the model "
                f"has {_shown(value)}. Leave the option out."
            )
        setattr(arguments, option, value)
    for other in ("windows", "lines", "many_to_many"):
        if kind not in (None, other) and getattr(arguments, other):
            raise ValueError(
                f"{options.option_name(other)} contradicts --from {name}, which was "
                f"trained with {options.option_name(kind)}. Leave the option out."
            )
    if arguments.level == arguments.parser.get_default("level"):
        arguments.level = model.vocabulary.level
    if arguments.learning_rate is None:
        arguments.learning_rate = LEARNING_RATE
    return model


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def tokenizer_of(model: Any) -> Any:
    """Returns the tokenizer with which the corpus of a model is read.

    It is `None` for a `Vocabulary`: that of the corpus says which symbols are new.
    """
    known = None if model is None else model.vocabulary
    return None if isinstance(known, textgen.Vocabulary) else known


def with_symbols_of(
    model: Any, corpus: PreparedCorpus, arguments: argparse.Namespace
) -> PreparedCorpus:
    """Returns a corpus; with `--from`, it has the ids of the model's vocabulary.

    With `--extend-vocabulary`, it is the vocabulary and the new symbols of the corpus.

    Raises:
        ValueError: The corpus has symbols that the model lacks.
    """
    if arguments.source_model is None:
        return corpus
    known, found = model.vocabulary, corpus.tokenizer
    if known == found:
        return corpus
    if known.level != found.level:
        raise ValueError(
            f"--level {found.level}: the text is read in tokens of this level, and "
            f"{arguments.source_model} has another one. Give the --level of the model."
        )
    new = [symbol for symbol in found.symbols if symbol not in known]
    if new and not arguments.extend_vocabulary:
        named = ", ".join(
            f"{symbol!r} ({corpus.counts[found.ids[symbol]]:,} times)"
            for symbol in new[:MAX_NAMED]
        )
        more = f" and {len(new) - MAX_NAMED:,} more" if len(new) > MAX_NAMED else ""
        raise ValueError(
            f"The text has symbols that {arguments.source_model} does not have: "
            f"{printable(named)}{more}. Add --extend-vocabulary to give them weights."
        )
    vocabulary = known.extended(new)
    corpus = preparing.convert_or_reuse(corpus, vocabulary)
    if corpus.path is not None:
        print(
            f"The ids in the vocabulary of {arguments.source_model} are in "
            f"{printable(corpus.path)}",
            flush=True,
        )
    return corpus


def labels_of(
    model: Any, corpus: PreparedCorpus, arguments: argparse.Namespace
) -> tuple[str, ...]:
    """Returns the labels of the model of a training.

    Args:
        model: The model of `--from` or of a checkpoint, or `None`.
        corpus: `PreparedCorpus`.
        arguments: The parsed arguments.

    Raises:
        ValueError: The corpus has labels that the model lacks.
    """
    known = () if model is None else tuple(model.labels)
    new = [name for name in corpus.label_names if name not in known]
    if new and model is not None and not arguments.extend_vocabulary:
        more = f" and {len(new) - MAX_NAMED:,} more" if len(new) > MAX_NAMED else ""
        raise ValueError(
            "--label-field: the text has labels that the model does not have: "
            f"{printable(', '.join(map(repr, new[:MAX_NAMED])))}{more}. With --from, "
            "add --extend-vocabulary to give them weights."
        )
    return (*known, *new)


def model_for(
    model: Any, vocabulary: Any, labels: tuple[str, ...], setup: Any, length: int
) -> Any:
    """Returns the model of a training: a new one, or a copy of that of `--from`.

    Args:
        model: `LanguageModel`, or `None`.
        vocabulary: `Vocabulary`. It has all symbols of the model.
        labels: tuple of str. They have all labels of the model.
        setup: `Setup` of the training.
        length: int. The sequence length.
    """
    if model is None:
        return setup.model(vocabulary, length, labels)
    arguments = setup.model_arguments(length)
    names = ("dropout", "recurrent_dropout", "weight_dropout", "stateful", "batch_size")
    changes = {name: arguments[name] for name in names}
    if model.return_sequences:
        changes["sequence_length"] = arguments["sequence_length"]
    return model.with_vocabulary(vocabulary, labels=labels, **changes)
