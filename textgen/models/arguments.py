"""Checks the arguments of `LanguageModel`, and converts them for Keras's layers."""

from collections.abc import Callable
from typing import Any

import keras

from textgen.layers.cells import CELLS
from textgen.text.tokenizers import check_tokenizer


def check_arguments(arguments: dict) -> None:
    """Checks the arguments of the constructor.

    Args:
        arguments: dict of name and value, all arguments.

    Raises:
        ValueError: An argument is out of range, or two contradict each other.
    """

    def check(good: bool, name: str, what: str) -> None:
        if not good:
            raise ValueError(f"{name}={arguments[name]!r} must be {what}.")

    vocabulary, units = arguments["vocabulary"], arguments["units"]
    check_tokenizer(vocabulary)
    embedding, stateful = arguments["embedding"], arguments["stateful"]
    check(arguments["cell"] in CELLS, "cell", f"one of {', '.join(CELLS)}")
    check(units and min(units) > 0, "units", "one or more positive integers")
    for name in ("activation", "recurrent_activation"):
        check(isinstance(arguments[name], str), name, "a name, such as 'tanh'")
    for name in ("dropout", "recurrent_dropout", "weight_dropout"):
        check(0 <= arguments[name] < 1, name, "at least 0 and less than 1")
    check(embedding is None or embedding > 0, "embedding", "a positive integer or None")
    check(arguments["sequence_length"] > 0, "sequence_length", "a positive integer")
    check(
        not arguments["tie_weights"] or embedding == units[-1],
        "tie_weights",
        f"False unless embedding ({embedding}) equals the last units ({units[-1]})",
    )
    check(
        not stateful or arguments["return_sequences"],
        "stateful",
        "False unless return_sequences=True: windows start from a zero state",
    )
    check(
        not stateful or (arguments["batch_size"] or 0) > 0,
        "batch_size",
        "a positive integer for a stateful model",
    )
    end_token = arguments["end_token"]
    check(
        end_token is None or 0 <= end_token < len(vocabulary),
        "end_token",
        f"None or an id from 0 to {len(vocabulary) - 1}",
    )
    check(
        arguments["reset_policy"] in ("epoch", "never"),
        "reset_policy",
        "'epoch' or 'never'",
    )


def find_activation(name: str) -> Any:
    """Returns the registered custom function of this name, or the name itself."""
    return keras.saving.get_registered_object(name) or name


def make_initializers(initializer: Any) -> Callable[..., dict]:
    """Returns a function from argument names to a dict with one initializer per name.

    Every initializer is a new object, because one object returns the same values at
    each call. With `initializer=None`, the dict is empty: Keras's defaults apply.
    """

    def named(*names: str) -> dict:
        if initializer is None:
            return {}
        config = keras.initializers.serialize(keras.initializers.get(initializer))
        return {name: keras.initializers.deserialize(config) for name in names}

    return named
