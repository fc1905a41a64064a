"""Dynamic evaluation: a model learns from a text while it is scored.

After Krause, Kahembwe, Murray and Renals, "Dynamic Evaluation of Neural Sequence
Models" (ICML 2018, arXiv 1709.07432). The text is cut into stretches. Each stretch is
scored first, and then the weights move along the gradient of its mean negative log
probability. The model itself is not changed: weights are arguments and results of a
compiled function.

Name of a dimension: S steps of a stretch.
"""

import dataclasses
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from textgen import tracing
from textgen.decoding import sampling
from textgen.decoding.defaults import DECAY, LEARNING_RATE, STRETCH
from textgen.decoding.readers import Reader
from textgen.text.tokenizer import NO_SYMBOL

# Added to r. Without it, a weight with tiny gradients would move as far as all others.
_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """How a model learns from a text that it scores (dynamic evaluation).

    The rule is "RMS with RMS decay" of Krause et al. (2018). After each stretch, with
    g the gradient of the mean nats of its tokens, r the root of the mean of g² over all
    stretches so far, w the weights and w₀ those of the model:

        w ← w - learning_rate g / (r + 0.001) + min(1, decay r / mean(r)) (w₀ - w)

    mean(r) is the mean over all weights. (The paper takes r from the training text,
    which a model file does not contain.) Dropout is off, and no gradient flows from one
    stretch to the one before it. Only trainable weights change.

    Args:
        learning_rate: float, above 0. How far a weight moves for a gradient of its
            usual size, r. Defaults to `0.002`.
        decay: float from 0 to 1. The mean share of the way back to the original
            weights, for each stretch. Defaults to `0.002`.
        stretch: int, at least 1. Tokens that are scored before the weights change, S.
            Defaults to `20`.
        keep: bool. Whether the model keeps the learned weights. The state of its
            optimizer does not change. Defaults to `False`: the model is not changed.

    Raises:
        ValueError: An argument is out of range.

    Example:

    ```python
    model.score(text, adapt=textgen.Adaptation(learning_rate=0.001))
    ```
    """

    learning_rate: float = LEARNING_RATE
    decay: float = DECAY
    stretch: int = STRETCH
    keep: bool = False

    def __post_init__(self) -> None:
        rate, decay, stretch = self.learning_rate, self.decay, self.stretch
        if not _is_number(rate) or not 0 < rate < math.inf:
            raise ValueError(
                f"learning_rate={rate!r} must be a number above 0, such as 0.002."
            )
        if not _is_number(decay) or not 0 <= decay <= 1:
            raise ValueError(
                f"decay={decay!r} must be a number from 0 to 1, such as 0.002; 0 means "
                "that nothing is forgotten."
            )
        whole = isinstance(stretch, numbers.Integral) and not isinstance(stretch, bool)
        if not whole or stretch < 1:
            raise ValueError(
                f"stretch={stretch!r} must be an integer from 1, such as 20 tokens."
            )


def adaptation_of(adapt: Any) -> Adaptation | None:
    """Converts the argument `adapt` of `score`; `None` means static scores.

    Raises:
        ValueError: It is neither a bool nor an `Adaptation`.
    """
    if adapt is True:
        return Adaptation()
    if adapt is None or adapt is False:
        return None
    if not isinstance(adapt, Adaptation):
        raise ValueError(
            f"adapt={adapt!r} must be True, False or a textgen.Adaptation."
        )
    return adapt


def adapted_log_probs(
    reader: Reader,
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    adaptation: Adaptation,
    report: Callable[[int], None],
) -> list[np.ndarray]:
    """Scores texts, and learns from each stretch after it was scored.

    The texts are read one after the other. The state of the reader starts anew for each
    text, and the weights learn on from text to text.

    Args:
        reader: `Reader`. Reads the texts.
        pairs: Sequence of two int arrays of equal length for each text: the inputs, and
            the targets whose probabilities are looked up.
        adaptation: `Adaptation`.
        report: Function that is called with the number of tokens of each stretch.

    Returns:
        list of float32 arrays. For each text, the log probability of each target.

    Raises:
        ValueError: All weights are frozen, or the weights are not finite any more.
    """
    # A model that is twice in a blend has its variables in it twice.
    variables = list({id(each): each for each in reader.variables}.values())
    learning = [each for each in variables if _can_learn(each)]
    if not learning:
        raise ValueError(
            "The model has no trainable weights, so it cannot adapt: set trainable = "
            "True for one of its layers."
        )
    fixed = [ops.convert_to_tensor(each) for each in variables if not _can_learn(each)]
    # Half precision would lose most steps.
    original = [sampling.at_least_float32(ops.convert_to_tensor(x)) for x in learning]
    memory = original, [ops.zeros_like(each) for each in original]
    places = tuple(map(_can_learn, variables))
    learn = reader.compiled(("learn", places), _make_learn(reader, variables, places))
    size = max(1, min(adaptation.stretch, max(len(ids) for ids, _ in pairs)))
    found, stretches, tokens = [], 0, 0
    for pair in pairs:
        carry = reader.initial(1)  # a start step in it was read with the first weights
        scores = [np.zeros(0, np.float32)]
        for at in range(0, len(pair[0]), size):
            count = min(size, len(pair[0]) - at)
            ids, wanted = np.full((2, 1, size), NO_SYMBOL, np.int32)
            ids[:] = reader.start_id  # some networks do not take -1
            ids[0, :count], wanted[0, :count] = (each[at : at + count] for each in pair)
            stretches += 1
            settings = [adaptation.learning_rate, adaptation.decay, 1 / stretches]
            with np.errstate(over="ignore"):  # `_check` reports an infinite rate
                single = np.array(settings, np.float32)
            report(count)
            log_probs, carry, memory = learn(
                ids, wanted, carry, memory, original, fixed, single
            )
            scores.append(ops.convert_to_numpy(log_probs)[0, :count])
            _check(not np.isnan(scores[-1]).any(), adaptation, tokens)
            tokens += count
        found.append(np.concatenate(scores))
    if adaptation.keep:
        values = list(map(ops.convert_to_numpy, memory[0]))
        finite = all(np.isfinite(value).all() for value in values)
        _check(finite, adaptation, tokens)
        for variable, value in zip(learning, values, strict=True):
            variable.assign(value)
    return found


def _check(good: bool, adaptation: Adaptation, tokens: int) -> None:
    if not good:
        raise ValueError(
            f"The adaptation diverged after {tokens:,} tokens: use a learning rate "
            f"below {adaptation.learning_rate:g}."
        )


def _make_learn(
    reader: Reader, variables: Sequence, places: Sequence[bool]
) -> Callable:
    """Returns a pure function that scores a stretch and learns from it.

    Args:
        reader: `Reader`.
        variables: Sequence of all its `keras.Variable`s.
        places: Sequence of bool. Which of them learn.
    """

    def learn(
        ids: Any,
        wanted: Any,
        carry: Any,
        memory: tuple[list, list],
        original: list,
        fixed: list,
        settings: Any,
    ) -> tuple:
        """Reads `(1, S)` ids; `wanted` is -1 where there is no target."""
        targets = wanted != NO_SYMBOL

        def loss(weights: list) -> tuple:
            each, others = iter(weights), iter(fixed)
            values = [next(each if learns else others) for learns in places]
            with keras.StatelessScope(list(zip(variables, values, strict=True))):
                _, logits, following = reader.read(ids, carry)
            log_probs = sampling.log_probability(logits, ops.maximum(wanted, 0))
            total = ops.sum(ops.where(targets, log_probs, 0))
            count = ops.sum(ops.cast(targets, total.dtype))
            return -total / count, (log_probs, following)

        weights, squares = memory
        (_, (log_probs, carry)), gradients = tracing.with_gradients(loss, weights)
        memory = _updated(weights, squares, gradients, original, settings)
        return log_probs, carry, memory

    return learn


def _updated(
    weights: list, squares: list, gradients: list, original: list, settings: Any
) -> tuple[list, list]:
    """Returns the weights after a step of the rule, and the mean squared gradients.

    Args:
        weights: list of tensors, as all lists here.
        squares: Means of the squared gradients before the step.
        gradients: Gradients of the step.
        original: The weights to which decay leads back.
        settings: float32 tensor: learning rate, decay, and 1 / number of this step.
    """
    squares = [
        mean + (gradient * gradient - mean) * ops.cast(settings[2], mean.dtype)
        for mean, gradient in zip(squares, gradients, strict=True)
    ]
    roots = [ops.sqrt(mean) for mean in squares]
    number = sum(math.prod(root.shape) for root in roots)
    usual = sum(ops.cast(ops.sum(root), "float32") for root in roots) / number
    usual = ops.maximum(usual, 1e-30)  # all gradients may be 0
    moved = []
    for weight, gradient, root, first in zip(
        weights, gradients, roots, original, strict=True
    ):
        rate, decay, average = (
            ops.cast(each, weight.dtype) for each in (settings[0], settings[1], usual)
        )
        back = ops.minimum(decay * root / average, 1)
        step = rate * gradient / (root + _EPSILON)
        moved.append(weight - step + back * (first - weight))
    return moved, squares


def _can_learn(variable: Any) -> bool:
    return variable.trainable and keras.backend.is_float_dtype(variable.dtype)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
