"""The rules of `suggest`. Their numbers come from the runs in docs/performance.md.

Names: V tokens of the vocabulary.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from textgen.advice.facts import TextFacts
from textgen.advice.setup import Setup
from textgen.layers.cells import GATES

WIDTHS = (64, 96, 128, 192, 256, 384, 512, 768, 1024)

TIMED = (128, 384)  # widths whose step is timed

MANY_TOKENS = 1000  # of a vocabulary: then input and output share their vectors

# Of a vocabulary: then training steps draw so many tokens for the softmax.
SAMPLED_FROM, SAMPLED = 8000, 1024

EMBEDDING = 64  # for small vocabularies

SHORTEST = 500  # tokens; in a shorter text, a held-out part says nothing

HELD_OUT = 200_000  # tokens: more cost time, and say little more

MOST_EVALUATIONS, FEWEST_EVALUATIONS = 20, 4  # in a training

EVALUATION_SHARE = 0.06  # of the time of the training steps

# Half precision is timed for networks of so many units, in trainings of so many
# minutes, and chosen if a step takes at most this share of its time in float32.
HALF_UNITS, HALF_MINUTES, HALF_SHARE = 768, 10.0, 0.85


def validation_share(tokens: int) -> float:
    """Returns the share of a text that is held out."""
    if tokens < SHORTEST:
        return 0.0
    return min(0.1, HELD_OUT / tokens)


def frame(
    facts: TextFacts, tokens: int, vocabulary_size: int, given: Mapping[str, Any]
) -> Setup:
    """Returns all choices that do not depend on the speed of the machine.

    Args:
        facts: `TextFacts`.
        tokens: int. Number of tokens of the training part.
        vocabulary_size: int.
        given: Fields of `Setup` that are fixed.
    """
    kind = given.get("kind", "lines" if facts.separate_lines else "sequences")
    if kind == "windows":  # one target in a window: the output takes little time
        return Setup(**{**given, "kind": kind})
    chosen: dict[str, Any] = {"kind": kind, "layer_norm": True, "beta_2": 0.99}
    if given.get("clip_value") is None:
        chosen |= {"clip_value": None, "clip_norm": 1.0}
    if "embedding" not in given:
        tied = vocabulary_size > MANY_TOKENS
        chosen["tie_weights"] = tied
        chosen["embedding"] = None if tied else min(EMBEDDING, vocabulary_size)
    if vocabulary_size >= SAMPLED_FROM:
        chosen["sampled_softmax"] = SAMPLED
    if kind == "lines":
        # As many updates in a pass as possible, but rows for each core.
        chosen["batch_size"] = min(32, max(8, facts.lines // 100))
    else:
        # A short text still has some batches in a pass.
        chosen["stateful"] = True
        steps = given.get("sequence_length") or min(32, max(2, tokens // 8))
        chosen["sequence_length"] = steps
        chosen["batch_size"] = min(32, max(1, tokens // (16 * steps)))
    return Setup(**{**chosen, **given})


def widened(setup: Setup, units: int, given: Mapping[str, Any]) -> Setup:
    """Returns a setup with a number of units, and what depends on it.

    Args:
        setup: `Setup`.
        units: int. Units of the recurrent layer, unless `given` has them.
        given: Fields of `Setup` that are fixed.
    """
    layers = tuple(given.get("units", (units,)))
    chosen: dict[str, Any] = {"units": layers}
    if setup.tie_weights:
        chosen["embedding"] = layers[-1]
    return dataclasses.replace(setup, **{**chosen, **given})


def learning_rate(units: int, layers: int, passes: float) -> float:
    """Returns the highest learning rate of Adam: lower for wide, deep, long trainings.

    Args:
        units: int. Units of the widest layer.
        layers: int.
        passes: float. Number of passes over the text.
    """
    rate = min(0.016 * (256 / units) ** 0.3 / math.sqrt(layers), 0.02)
    rate *= min(1.0, max(0.7, (3.0 / passes) ** 0.3))
    return float(f"{rate:.2g}")


def weights_of(setup: Setup, vocabulary_size: int) -> int:
    """Returns the number of weights that a token takes part in, without biases.

    These are the recurrent layers and the output; a row lookup computes nothing.
    """
    size, total = setup.embedding or 0, 0
    for units in setup.units:
        total += GATES.get(setup.cell, 1) * units * (size + units)
        size = units
    return total + size * vocabulary_size


def step_weights(setup: Setup, vocabulary_size: int) -> int:
    """Returns `weights_of` for the logits that a training step computes."""
    return weights_of(setup, setup.sampled_softmax or vocabulary_size)


def expected_nats(weights: int, read: float, tokens: int) -> float:
    """Returns a relative measure of the loss that a training reaches.

    The form of Hoffmann et al. ("Training Compute-Optimal Large Language Models",
    2022): a part that falls with the number of weights, and a part that falls with the
    number of tokens read. Tokens that are read again count less, as in Muennighoff et
    al. ("Scaling Data-Constrained Language Models", 2023).

    Args:
        weights: int. See `weights_of`.
        read: float. Number of tokens that are read in all passes.
        tokens: int. Number of tokens of the training part.
    """
    passes = max(read / tokens, 1e-9)
    if passes > 1:
        read = tokens * (1 + REPEATS * (1 - math.exp(-(passes - 1) / REPEATS)))
    return A * (weights / 1e6) ** -ALPHA + B * (read / 1e6) ** -BETA


# Fitted to 7 trainings of 128 to 512 units on tinyshakespeare, with an error of 0.005
# nats; only the proportion of A and B decides. A million weights or tokens are 1.
A, ALPHA = 0.0775, 0.4
B, BETA = 0.147, 0.75
REPEATS = 15.0  # of Muennighoff et al.

WEIGHTS_PER_TOKEN, FEW_WEIGHTS = 1.3, 200_000


def best_width(
    setup: Setup,
    given: Mapping[str, Any],
    candidates: Iterable[tuple[int, float]],
    tokens: int,
    vocabulary_size: int,
) -> int:
    """Returns the width with the lowest expected loss.

    Args:
        setup: `Setup`.
        given: Fields of `Setup` that are fixed.
        candidates: Pairs of a width, and of the tokens that are read in the time.
        tokens: int. Number of tokens of the training part.
        vocabulary_size: int.
    """

    def nats(candidate: tuple[int, float]) -> float:
        width, read = candidate
        weights = weights_of(widened(setup, width, given), vocabulary_size)
        return expected_nats(weights, read, tokens)

    # The law does not know that wide networks learn a short text by heart.
    most = max(WEIGHTS_PER_TOKEN * tokens, FEW_WEIGHTS)
    candidates = list(candidates)
    possible = [
        candidate
        for candidate in candidates
        if weights_of(widened(setup, candidate[0], given), vocabulary_size) <= most
    ]
    return min(possible or candidates[:1], key=nats)[0]


def half_precision_may_pay(
    units: int, minutes: float, given: Mapping[str, Any]
) -> bool:
    """Whether to time steps in half precision: their speed depends on the processor."""
    return "precision" not in given and units >= HALF_UNITS and minutes >= HALF_MINUTES


def regularised(setup: Setup, passes: float, given: Mapping[str, Any]) -> Setup:
    """Returns a setup with dropout and learning rate for a number of passes."""
    if setup.kind == "windows":
        return setup
    rows = [rates for limit, *rates in DROPOUTS if passes >= limit]
    dropout, weight_dropout, weight_decay = rows[-1]
    chosen = {
        "dropout": dropout,
        "weight_dropout": weight_dropout,
        "weight_decay": weight_decay,
        "learning_rate": learning_rate(max(setup.units), len(setup.units), passes),
    }
    return dataclasses.replace(setup, **{**chosen, **given})


# Passes over the text, dropout, dropout of the recurrent weights, weight decay.
DROPOUTS = (
    (0.0, 0.0, 0.0, 0.0),
    (2.0, 0.1, 0.0, 0.0),
    (6.0, 0.25, 0.1, 0.0),
    (15.0, 0.4, 0.25, 0.01),
    (30.0, 0.5, 0.3, 0.05),
)


def steps_per_epoch(
    stateful: bool, batches: int, steps: float, validation: float
) -> int:
    """Returns the number of steps between two evaluations.

    Args:
        stateful: bool. Whether the state is carried from batch to batch.
        batches: int. Batches of a pass over the text.
        steps: float. Estimated steps of the training.
        validation: float. Time of an evaluation, in training steps.
    """
    count = EVALUATION_SHARE * steps / max(validation, 1e-9)
    count = min(max(count, FEWEST_EVALUATIONS), MOST_EVALUATIONS)
    wanted = max(1.0, steps / count)
    if wanted >= batches:
        return round(wanted / batches) * batches
    if not stateful:
        return round(wanted)
    # A stateful training needs a divisor of the batches of a pass.
    counts = [batches // part for part in range(1, 2000) if batches % part == 0]
    return min(counts, key=lambda count: abs(math.log(count / wanted)))
