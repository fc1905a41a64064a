"""`suggest`: the best training that is known for a text, a machine and a time."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from textgen.advice import explanation, rules
from textgen.advice.facts import TextFacts, look, look_at_ids
from textgen.advice.setup import WINDOW, Setup
from textgen.advice.timing import Speeds, step_seconds
from textgen.text.prepared import PreparedCorpus
from textgen.text.preparing import prepare
from textgen.text.splits import check_share
from textgen.text.tokenizer import Tokenizer
from textgen.text.vocabulary import Vocabulary

_FIELDS = {field.name for field in dataclasses.fields(Setup)}

HALF = "mixed_bfloat16"

MANY_LINES = 5000


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """What `suggest` chose. `print(suggestion)` explains it.

    Attributes:
        setup: `Setup`. All choices of data, network and optimizer.
        facts: `TextFacts`. What the text looks like.
        vocabulary: `Vocabulary`.
        minutes: float. The time that the choice is for.
        validation: float. Share of the text that is held out.
        steps: int. Estimated number of training steps.
        passes: float. Estimated number of passes over the text.
        tokens_per_second: float or `None`. Estimated speed of the training on this
            machine; `None` if nothing was timed.
    """

    setup: Setup
    facts: TextFacts
    vocabulary: Tokenizer
    minutes: float
    validation: float
    steps: int
    passes: float
    tokens_per_second: float | None

    def __str__(self) -> str:
        return explanation.explain(self)

    def steps_per_epoch(self, batches: int) -> int:
        """Returns the number of steps between two evaluations: 4 to 20 in all.

        Args:
            batches: int. Number of batches of the training dataset: its length.
        """
        # An evaluation is a forward pass, about a third of a training step.
        validation = batches * self.validation / (1 - self.validation) / 3
        return rules.steps_per_epoch(
            self.setup.stateful, batches, self.steps, validation
        )

    def build(self, text: str | PreparedCorpus, seed: int = 0) -> tuple[Any, Any, Any]:
        """Builds what `fit` needs.

        Args:
            text: str or `PreparedCorpus`. The text that `suggest` got.
            seed: int. Seed of the order and of the split of lines.

        Returns:
            A tuple `(model, train, validation)`: a compiled `LanguageModel`, and two
            datasets; `validation` is `None` for a very short text.

        Example:

        ```python
        choice = textgen.suggest(text, minutes=5)
        model, train, validation = choice.build(text)
        model.fit(
            train,
            validation_data=validation,
            epochs=10**6,
            steps_per_epoch=choice.steps_per_epoch(len(train)),
            callbacks=[textgen.TimeBudget(5)],
        )
        ```
        """
        if isinstance(text, str):
            text = prepare(iter([text]), tokenizer=self.vocabulary)
        parts = self.setup.split(text, self.validation, seed)
        train, validation, length = self.setup.datasets(*parts, self.vocabulary, seed)
        model = self.setup.model(self.vocabulary, length, text.label_names)
        model.compile(
            self.setup.optimizer(), sampled_softmax=self.setup.sampled_softmax
        )
        return model, train, validation


def suggest(
    text: str | np.ndarray | PreparedCorpus,
    vocabulary: Tokenizer | None = None,
    minutes: float = 5.0,
    *,
    validation: float | None = None,
    epochs: int | None = None,
    **given: Any,
) -> Suggestion:
    """Suggests a training for a text, this machine, and a time.

    Looks at the text, times training steps of two networks on this machine, and
    chooses all arguments of dataset, model and optimizer. This takes some seconds.

    Args:
        text: str, `PreparedCorpus`, or integer array of ids of shape `(tokens,)`.
        vocabulary: `Vocabulary`, or `None` for the characters of a str, or that of a
            `PreparedCorpus`. Defaults to `None`.
        minutes: float. Time of the training, see `TimeBudget`. Defaults to `5`.
        validation: float or `None`. Share of the text to hold out. `None` chooses: 0.1,
            less for a long text, and 0 for a very short one.
        epochs: int or `None`. Number of passes over the text, if it is fixed. The
            network is then as wide as `minutes` allows for these passes.
        **given: Fields of `Setup` that are fixed, such as `units=(256,)`. The others
            are chosen around them.

    Returns:
        A `Suggestion`.

    Raises:
        ValueError: An argument is out of range, or the text is too short.

    Example:

    ```python
    choice = textgen.suggest(text, minutes=5)
    print(choice)
    model, train, validation = choice.build(text)
    ```
    """
    if not 0 < minutes < math.inf:
        raise ValueError(f"minutes={minutes} must be a positive, finite number.")
    unknown = sorted(given.keys() - _FIELDS)
    if unknown:
        raise ValueError(
            f"{unknown[0]}={given[unknown[0]]!r} is not a choice of a training. The "
            f"choices are {', '.join(sorted(_FIELDS))}."
        )
    if validation is not None:
        check_share(validation)
    start = time.perf_counter()
    vocabulary, facts, tokens = _look(text, vocabulary)
    size = len(vocabulary)
    share = rules.validation_share(tokens) if validation is None else validation
    tokens = max(1, round(tokens * (1 - share)))
    setup = rules.frame(facts, tokens, size, given)
    length, batches = _shape(setup, facts, tokens)

    def timed(units: int, **precision: str) -> float:
        candidate = rules.widened(setup, units, {**given, **precision})
        return step_seconds(candidate, vocabulary, length)

    fixed = "units" in given or setup.kind == "windows"
    width, step = max(setup.units), None
    if not fixed:
        speeds = Speeds(
            timed,
            lambda units: rules.step_weights(rules.widened(setup, units, given), size),
            rules.TIMED,
        )
    elif epochs is None:
        step = timed(width)
    # What was used here, and what building, compiling and validation will use.
    spent = 2 * (time.perf_counter() - start)
    seconds = max(60 * minutes - spent, 30 * minutes)
    if not fixed:
        most = math.inf if epochs is None else epochs * tokens
        candidates = [
            (each, min(seconds / speeds.seconds(each) * tokens / batches, most))
            for each in rules.WIDTHS
        ]
        width = rules.best_width(setup, given, candidates, tokens, size)
        step = speeds.seconds(width)
        if rules.half_precision_may_pay(width, minutes, given):
            step, given["precision"] = _faster_precision(timed, width)
    if epochs is not None:
        passes = float(epochs)
    else:
        assert step is not None
        passes = seconds / step / batches
    return Suggestion(
        setup=rules.regularised(rules.widened(setup, width, given), passes, given),
        facts=facts,
        vocabulary=vocabulary,
        minutes=minutes,
        validation=share,
        steps=max(1, round(passes * batches)),
        passes=passes,
        tokens_per_second=tokens / batches / step if step else None,
    )


def _faster_precision(timed: Callable[..., float], units: int) -> tuple[float, str]:
    """Returns the time of a step, and the precision with which it takes this time."""
    single, half = timed(units), timed(units, precision=HALF)
    if half <= rules.HALF_SHARE * single:
        return half, HALF
    return single, Setup.precision


def _look(
    text: str | np.ndarray | PreparedCorpus, vocabulary: Any
) -> tuple[Any, TextFacts, int]:
    """Returns the vocabulary, what the text looks like, and its number of tokens."""
    if isinstance(text, PreparedCorpus):
        vocabulary, tokens = text.tokenizer, len(text)
        facts = look_at_ids(text.ids, vocabulary, text.characters)
        if text.labels is not None:
            reason = "its lines have labels"
            facts = dataclasses.replace(facts, separate_lines=True, reason=reason)
    elif isinstance(text, str):
        vocabulary = vocabulary or Vocabulary.from_text(text)
        facts, tokens = look(text), len(text)
        if vocabulary.level != "character":
            tokens = len(vocabulary.encode(text))
    elif vocabulary is None:
        raise ValueError("An array of ids needs its vocabulary: pass vocabulary=….")
    else:
        facts, tokens = look_at_ids(text, vocabulary), len(text)
    if tokens < 4:
        raise ValueError(
            f"The text has {tokens} tokens: a training needs at least four, and some "
            "thousands for a good model."
        )
    return vocabulary, facts, tokens


def _shape(setup: Setup, facts: TextFacts, tokens: int) -> tuple[int, int]:
    """Returns the steps of a batch, and the number of batches of a pass.

    They are estimates for lines, whose lengths differ.
    """
    if setup.kind == "lines":
        length = setup.sequence_length or facts.longest_line + 1
        if facts.lines > MANY_LINES:  # read in buckets of like length
            length = min(length, 2 * facts.median_line + 1)
        return length, max(1, math.ceil(facts.lines / setup.batch_size))
    length = setup.sequence_length or WINDOW
    step = length if setup.kind == "sequences" else setup.sequence_stride
    return length, max(1, tokens // (step * setup.batch_size))
