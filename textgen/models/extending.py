"""Models with another vocabulary: copies that keep the weights of known symbols."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import keras
import numpy as np

from textgen.text.levels import quoted
from textgen.text.vocabulary import Vocabulary

_Model = TypeVar("_Model", bound=Any)

_MAX_NAMED = 10  # symbols that a message names

# The arguments of a model that its weights, and what they compute, do not depend on.
_CHANGEABLE = (
    *("dropout", "recurrent_dropout", "weight_dropout", "return_sequences"),
    *("stateful", "batch_size", "reset_policy", "sequence_length", "start_step"),
    *("end_token", "name", "dtype"),
)


class Extendable:
    """Mixin of a `LanguageModel` that copies it with another vocabulary."""

    def with_vocabulary(
        self: _Model,
        vocabulary: Vocabulary,
        like: Mapping[str, str] | None = None,
        drop_symbols: bool = False,
        labels: Sequence[str] | None = None,
        **changes: Any,
    ) -> _Model:
        """Returns a copy of the model with another vocabulary, to train it further.

        Each symbol keeps its weights: its row of the input kernel or of the embedding,
        and its column of the output kernel and its bias. So the logits of the old
        symbols after a text of old symbols are those of the model, except for rounding:
        a product with a wider matrix may add in another order.

        A symbol that the model lacks starts with the mean weights of all symbols of the
        model (Hewitt, "Initializing New Word Embeddings for Pretrained Language
        Models", 2021) and with their smallest output bias. It is thus improbable at
        first: its logit is at most the mean logit, and in practice far below.

        Args:
            vocabulary: `Vocabulary` of the level of the model's vocabulary, for example
                `model.vocabulary.extended(text)`.
            like: Mapping of str and str, or `None`. New symbols, and the symbol of the
                model whose weights each one gets instead. The two are equally probable
                at first. Entries for symbols that are not new have no effect. Defaults
                to `None`.
            drop_symbols: bool. Whether `vocabulary` may lack symbols of the model.
                Defaults to `False`.
            labels: Sequence of str, or `None`. The labels of the new model. A label
                that the model lacks has no effect at first: its weights are zero.
                Defaults to `None`, those of the model.
            **changes: New values of arguments of `LanguageModel`: `dropout`,
                `recurrent_dropout`, `weight_dropout`, `return_sequences`, `stateful`,
                `batch_size`, `reset_policy`, `sequence_length`, `start_step`,
                `end_token`, `name` and `dtype`.

        Returns:
            A model of the same class, which is not compiled. Its other arguments, its
            frozen layers and a copy of its notes are those of the model. `end_token` is
            the new id of the same symbol, or `None` if the symbol was dropped. Carried
            states are zero, and the random generators of the dropout are new. In a
            frozen layer, the weights of new symbols do not learn either.

        Raises:
            ValueError: The vocabulary is of another kind or level, or lacks symbols of
                the model; `like` names a symbol that the model lacks; or `changes`
                contains another argument, or an invalid value.

        Example:

        ```python
        model = textgen.load("tinyshakespeare")
        vocabulary = model.vocabulary.extended(text)
        model = model.with_vocabulary(vocabulary, like={"(": ","}, dropout=0.2)
        model.compile(keras.optimizers.Adam(1e-3, global_clipnorm=1.0))
        ```
        """
        if others := sorted(set(changes) - set(_CHANGEABLE)):
            raise ValueError(
                f"with_vocabulary cannot change {', '.join(others)}: the weights of "
                f"the model would not fit. It can change {', '.join(_CHANGEABLE)}."
            )
        old = self.vocabulary
        _check_vocabularies(old, vocabulary, drop_symbols)
        rows = _rows(old, vocabulary, like or {})
        config = {**self.get_config(), "vocabulary": vocabulary.get_config()}
        if self.end_token is not None:
            config["end_token"] = vocabulary.ids.get(old.symbols[self.end_token])
        if labels is not None:
            config["labels"] = labels
        config |= changes
        policy = keras.dtype_policies.get(config["dtype"])
        config["dtype"] = keras.dtype_policies.serialize(policy)
        model = type(self).from_config(config)
        axes = _symbol_axes(self)
        reads = _input_weights(self)
        for layer, target in zip(
            self.layers_with_weights(), model.layers_with_weights(), strict=True
        ):
            for source, variable in zip(layer.weights, target.weights, strict=True):
                value = keras.ops.convert_to_numpy(source)
                if source is reads:
                    kept = _labels_moved(value[len(old) :], self.labels, model.labels)
                    value = np.append(_moved(value[: len(old)], rows, 0), kept, axis=0)
                elif id(source) in axes:
                    value = _moved(value, rows, axes[id(source)])
                variable.assign(value)
        return model


def _check_vocabularies(old: Any, new: Any, drop_symbols: bool) -> None:
    """Raises ValueError unless weights can go from one vocabulary to the other."""
    if new == old:  # of any kind
        return
    for vocabulary in (old, new):
        if not isinstance(vocabulary, Vocabulary):
            raise ValueError(
                f"vocabulary={quoted(vocabulary)} must be a textgen.Vocabulary."
            )
    if old.level != new.level:
        raise ValueError(
            f"The vocabulary has {new.level}s and the model {old.level}s: pass a "
            f"vocabulary with level={old.level!r}."
        )
    missing = [symbol for symbol in old.symbols if symbol not in new]
    if missing and not drop_symbols:
        raise ValueError(
            f"The vocabulary lacks {len(missing):,} of {len(old):,} symbols of the "
            f"model: {', '.join(map(quoted, missing[:_MAX_NAMED]))}"
            f"{', …' if len(missing) > _MAX_NAMED else ''}. Pass "
            "model.vocabulary.extended(text) to keep them, or drop_symbols=True."
        )


def _rows(old: Vocabulary, new: Vocabulary, like: Mapping[str, str]) -> np.ndarray:
    """Returns, for each new id, the old id whose weights it gets; V for the mean.

    V is the number of old symbols.
    """
    rows = []
    for symbol in new.symbols:
        if symbol in old:
            rows.append(old.ids[symbol])
        elif symbol not in like:
            rows.append(len(old))
        elif like[symbol] in old:
            rows.append(old.ids[like[symbol]])
        else:
            raise ValueError(
                f"like={{{quoted(symbol)}: {quoted(like[symbol])}}} must name a symbol "
                "of the model's vocabulary."
            )
    return np.array(rows)


def _input_weights(model: Any) -> Any:
    """Returns the weights with a row for each symbol, and then for each label."""
    if model.embedding is None:
        return model.recurrent_layers[0].cell.kernel
    return model.input_layer.embeddings


def _symbol_axes(model: Any) -> dict[int, int]:
    """Returns the axis of the symbols of each output weight, by its `id`."""
    axes = {id(model.output_layer.bias): 0}
    if not model.tie_weights:
        axes[id(model.output_layer.kernel)] = 1
    return axes


def _labels_moved(
    value: np.ndarray, old: Sequence[str], new: Sequence[str]
) -> np.ndarray:
    """Returns the rows of the new labels; those of unknown ones are zero."""
    zero = np.zeros_like(value, shape=(1, *value.shape[1:]))
    numbers = {label: number for number, label in enumerate(old)}
    rows = [numbers.get(label, len(old)) for label in new]
    return np.append(value, zero, axis=0)[rows]


def _moved(value: np.ndarray, rows: np.ndarray, axis: int) -> np.ndarray:
    """Returns the weights of the new symbols; the last of `rows` may be V."""
    if value.ndim == 1:  # the output bias
        fresh = value.min(keepdims=True)
    else:
        mean = value.astype("float64").mean(axis, keepdims=True)
        fresh = mean.astype(value.dtype)
    return np.take(np.concatenate([value, fresh], axis), rows, axis)
