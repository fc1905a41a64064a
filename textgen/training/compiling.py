"""How `compile` chooses the loss and the metrics."""

import inspect
from typing import Any

import keras

from textgen.training import losses, metrics

# Keras's names for the loss of a language model.
_CROSS_ENTROPIES = ("categorical_crossentropy", "sparse_categorical_crossentropy")

# Keras's names of metrics that textgen replaces by its own: they accept ids, one-hot
# targets and missing targets.
_METRICS = {
    **dict.fromkeys(
        (*_CROSS_ENTROPIES, "crossentropy", "ce"), metrics.MeanCrossEntropy
    ),
    **dict.fromkeys(
        ("accuracy", "acc", "categorical_accuracy", "sparse_categorical_accuracy"),
        metrics.Accuracy,
    ),
}


def loss_for(loss: Any, kind: str, dtype: str) -> Any:
    """Returns the loss to compile with: textgen's cross-entropy, or the given loss.

    Args:
        loss: The argument `loss` of `compile`.
        kind: `"logits"` or `"probabilities"`. Output of the model.
        dtype: str. Precision of the loss.

    Raises:
        ValueError: The loss expects the other kind of output.
    """
    if isinstance(loss, list | tuple) and len(loss) == 1:
        [loss] = loss
    name = getattr(loss, "__name__", type(loss).__name__)
    if loss is None or loss in _CROSS_ENTROPIES or name in _CROSS_ENTROPIES:
        return losses.CrossEntropy(dtype=dtype, from_logits=kind == "logits")
    if isinstance(loss, str):
        loss, name = keras.losses.get(loss), loss
    from_logits = None
    if isinstance(loss, keras.losses.Loss):
        from_logits = loss.get_config().get("from_logits")
    elif "from_logits" in inspect.signature(loss).parameters:
        from_logits = inspect.signature(loss).parameters["from_logits"].default
    _check_kind(f"loss={name}", from_logits, kind)
    if isinstance(loss, losses.CrossEntropy):
        return type(loss).from_config(
            {**loss.get_config(), "from_logits": kind == "logits"}
        )
    return loss


def metrics_for(given: Any, kind: str, dtype: str) -> Any:
    """Replaces the names of cross-entropies and accuracies by textgen's metrics.

    Args:
        given: The argument `metrics` of `compile`: a metric, or lists and dicts of
            metrics.
        kind: `"logits"` or `"probabilities"`. Output of the model.
        dtype: str. Precision of the metrics.

    Raises:
        ValueError: A metric expects the other kind of output.
    """
    if isinstance(given, dict):
        return {name: metrics_for(each, kind, dtype) for name, each in given.items()}
    if isinstance(given, list | tuple):
        return [metrics_for(each, kind, dtype) for each in given]
    if isinstance(given, str) and given in _METRICS:
        given = _METRICS[given](name=given, dtype=dtype)
    if isinstance(given, keras.metrics.Metric):
        config = given.get_config()
        _check_kind(
            f"The metric {type(given).__name__}", config.get("from_logits"), kind
        )
        if "from_logits" in config and config["from_logits"] is None:
            given.from_logits = kind == "logits"
    return given


def _check_kind(what: str, from_logits: bool | None, kind: str) -> None:
    """Raises ValueError if a loss or metric expects the other kind of output."""
    if from_logits is None or from_logits == (kind == "logits"):
        return
    expected = "logits" if from_logits else "probabilities"
    raise ValueError(
        f"{what} expects {expected}, but the model returns {kind}: omit it, or pass "
        f"from_logits={not from_logits}."
    )
