"""The sampled softmax: a cross-entropy in training that computes few of the logits.

The logits of a batch are computed for its targets and for S drawn tokens only. The sum
over all tokens in the softmax is estimated: each token that is a target in the batch
counts once, and a drawn token that is none counts 1 / (S q) times, where q is the
probability of a draw. The expected value of this sum is the exact sum. (The correction
for q is that of Bengio and Senécal, "Adaptive Importance Sampling to Accelerate
Training of a Neural Probabilistic Language Model", 2008.)

The draws are spread evenly (systematic sampling), and start at a point that depends on
the targets of the batch only: a resumed training has the same draws, and no random
generator needs to be saved.

Names of dimensions: n targets in a batch, V tokens of the vocabulary, H units, S drawn
tokens, C = n + S candidates.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from textgen.training import losses

POWER = 0.75  # of the counts, as in word2vec; see docs/performance.md

EXCLUDED = -1e9  # a logit that adds nothing; infinity times 0 would be NaN

_TOTAL = 2**30  # of the widths of all tokens

_STARTS = 32749  # points at which the draws can start; a prime number

_BLOCKS, _BLOCK = 64, 1 << 15  # ids that are counted in a long text


def check(count: Any, model: Any, loss: Any, metrics: list) -> int:
    """Returns the number of drawn tokens of a compiled model; 0 for the full softmax.

    Args:
        count: The argument `sampled_softmax` of `compile`.
        model: The model.
        loss: Its loss.
        metrics: list. The arguments `metrics` and `weighted_metrics`.

    Raises:
        ValueError: The number is out of range, or the model cannot be trained so.
    """
    if count is None or (count == 0 and not isinstance(count, bool)):
        return 0
    size = len(model.vocabulary)
    if isinstance(count, bool) or not isinstance(count, int | np.integer):
        raise ValueError(f"sampled_softmax={count!r} must be an integer.")
    if not 0 <= count <= size:
        raise ValueError(
            f"sampled_softmax={count} must be at least 0, and at most {size}, the "
            "number of tokens of the vocabulary."
        )
    what = None
    if not hasattr(model, "output_layer"):
        what = f"a LanguageModel, and this is a {type(model).__name__}"
    elif not isinstance(loss, losses.CrossEntropy):
        what = "the cross-entropy as loss"
    elif any(metrics):
        what = (
            "no metrics, because they need the logits of all tokens; `evaluate` and "
            "the validation loss are exact"
        )
    if what is not None:
        raise ValueError(
            f"sampled_softmax={count} needs {what}: omit it, or the other."
        )
    return int(count)


def limits(ids: Any, size: int) -> np.ndarray:
    """Returns the distribution of the draws: about the counts of tokens, to the 3/4.

    Args:
        ids: integer array, or `None` for equal probabilities. A text; of a long one,
            some parts are counted.
        size: int. V.

    Returns:
        int32 array of shape `(V,)`: the sums of the probabilities up to each token, as
        multiples of an unnamed unit.
    """
    widths = np.full(size, _TOTAL // size, np.int64)
    if ids is not None:
        starts = [0]
        if len(ids) > _BLOCKS * _BLOCK:
            starts = np.linspace(0, len(ids) - _BLOCK, _BLOCKS).astype(int).tolist()
        end = _BLOCK if starts[1:] else len(ids)
        counts = np.zeros(size)
        for start in starts:
            part = np.asarray(ids[start : start + end])
            counts += np.bincount(part[part >= 0], minlength=size)
        shares = (counts + 0.5) ** POWER
        widths = np.maximum((shares * (_TOTAL / shares.sum())).astype(np.int64), 1)
    return widths.cumsum().astype(np.int32)


def draw(count: int, ends: np.ndarray, start: Any) -> tuple[Any, Any]:
    """Draws tokens.

    Args:
        count: int. S.
        ends: int32 array of shape `(V,)`, from `limits`.
        start: int32 tensor of shape `()`. Any number; equal numbers draw equal tokens.

    Returns:
        A tuple `(ids, expected)`: the tokens, int32 of shape `(S,)`, and how often each
        of them is drawn in a step on average, float32 of shape `(S,)`.
    """
    distance = int(ends[-1]) // count
    part = ops.cast(ops.mod(start, _STARTS), "float32") / _STARTS
    offset = ops.cast(part * distance, "int32")
    points = np.arange(count, dtype=np.int32) * np.int32(distance) + offset
    ids = ops.cast(ops.searchsorted(ends, points, side="right"), "int32")
    expected = np.diff(ends, prepend=0) / distance
    return ids, ops.take(expected.astype(np.float32), ids, axis=0)


def candidates(targets: Any, count: int, ends: np.ndarray) -> tuple[Any, Any, Any]:
    """Returns the tokens whose logits a training step computes.

    Args:
        targets: int32 tensor of shape `(n,)`. The ids of the targets, none negative.
        count, ends: As for `draw`.

    Returns:
        A tuple `(ids, positions, corrections)`: the candidates, int32 of shape `(C,)`;
        the position of each target among them, int32 of shape `(n,)`; and what to add
        to the logits of the candidates, float32 of shape `(C,)`.
    """
    order = ops.arange(ops.shape(targets)[0], dtype="int32")
    # For each token the last target that is this token; negative for other tokens.
    places = ops.segment_max(order, targets, num_segments=len(ends))
    positions = ops.take(places, targets, axis=0)
    drawn, expected = draw(count, ends, ops.sum(targets))
    new = ops.take(places, drawn, axis=0) < 0
    corrections = ops.concatenate(
        [
            ops.where(positions == order, 0.0, EXCLUDED),
            ops.where(new, -ops.log(expected), EXCLUDED),
        ]
    )
    return ops.concatenate([targets, drawn]), positions, corrections


def candidate_logits(
    y: Any,
    features: Any,
    count: int,
    ends: np.ndarray,
    logits_of: Callable[[Any, Any], Any],
) -> tuple[Any, Any]:
    """Returns targets and logits for the loss of a batch.

    Args:
        y: Targets, as for `losses.targets_of`.
        features: Inputs of the output layer, `(N, H)` or `(N, T, H)`.
        count, ends: As for `draw`.
        logits_of: Callable `(features, ids) -> logits`. The output layer for some ids.

    Returns:
        A tuple `(targets, logits)`: positions among the candidates, int32 of shape
        `(N,)` or `(N, T)`, -1 for no target; and the corrected logits, with one more
        axis of size C.

    Raises:
        ValueError: The targets are distributions, or do not fit.
    """
    shape = (*features.shape[:-1], len(ends))
    targets = losses.targets_of(y, keras.KerasTensor(shape))
    if len(targets.shape) == len(shape):
        raise ValueError("The sampled softmax needs targets that are ids: y is floats.")
    flat = ops.reshape(ops.maximum(targets, 0), (-1,))
    ids, positions, corrections = candidates(flat, count, ends)
    logits = logits_of(features, ids)
    logits = logits + ops.cast(corrections, logits.dtype)
    positions = ops.reshape(positions, ops.shape(targets))
    return ops.where(targets < 0, -1, positions), logits
