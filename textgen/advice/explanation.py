"""A suggestion in words, and in Python."""

import dataclasses
from typing import Any

from textgen.advice.setup import WINDOW, Setup
from textgen.layers.cells import CELLS

_DEFAULTS = Setup()

_LOSS = " The training loss is that of the sampled softmax; the held-out loss is exact."


def explain(choice: Any) -> str:
    """Returns a paragraph that explains a `Suggestion`."""
    setup, facts = choice.setup, choice.facts
    text = f"{facts.characters:,} characters"
    if facts.lines:
        text += f" in about {facts.lines:,} lines"
    if setup.kind == "lines":
        read = "Each line is read as a text of its own"
    else:
        read = "It is read as running text"
    if (setup.kind == "lines") == facts.separate_lines:
        read += f", because {facts.reason}"
    if setup.kind == "windows":
        read = f"It is read in windows of {setup.sequence_length or WINDOW} tokens"
    layers = " and ".join(map(str, setup.units))
    cell = CELLS[setup.cell]
    network = f"{cell} layers of {layers} units"
    if len(setup.units) == 1:
        network = f"one {cell} layer of {layers} units"
    if setup.tie_weights:
        network += ", whose input and output share one vector for each token"
    dropout = "no dropout"
    if setup.dropout:
        dropout = f"dropout {setup.dropout:g}"
    if setup.precision != _DEFAULTS.precision:
        dropout += f", {setup.precision}"
    if setup.sampled_softmax:
        dropout += f", a sampled softmax of {setup.sampled_softmax:,} tokens"
    speed, time = "", f"In {choice.minutes:.3g} minutes, this machine reads it"
    if choice.tokens_per_second is None:
        time = "The training reads it"
    else:
        speed = f": {_rounded(choice.tokens_per_second)} tokens per second"
    return (
        f"The text has {text}, and {len(choice.vocabulary):,} different tokens. "
        f"{read}. {time} about {_times(choice.passes)} with {network}, {dropout} and "
        f"batches of {setup.batch_size}{speed}.{_LOSS if setup.sampled_softmax else ''}"
    )


def python(
    setup: Setup,
    corpus: str,
    validation: float,
    minutes: float | None,
    epochs: int | None,
    labelled: bool = False,
) -> str:
    """Returns Python code of a training.

    Args:
        setup: `Setup`.
        corpus: str. Expression that gives the `PreparedCorpus`.
        validation: float. Share of the text that is held out.
        minutes: float or `None`. The time, if the clock ends the training.
        epochs: int or `None`. The passes over the text, if they are limited.
        labelled: bool. Whether the corpus has labels. Defaults to `False`.
    """
    fit = f"model.fit(train, validation_data=validation, epochs={epochs or '10**6'}"
    if minutes is not None:
        fit += f",\n          callbacks=[textgen.TimeBudget({minutes!r})]"
    fit += ")"
    labels = ", corpus.labels.names" if labelled else ""
    compiling = "model.compile(setup.optimizer())"
    if setup.sampled_softmax:
        compiling = f"{compiling[:-1]}, sampled_softmax=setup.sampled_softmax)"
    fields = ", ".join(
        f"{field.name}={getattr(setup, field.name)!r}"
        for field in dataclasses.fields(setup)
        if getattr(setup, field.name) != getattr(_DEFAULTS, field.name)
    )
    return "\n".join(
        [
            "import textgen",
            f"corpus = {corpus}",
            f"setup = textgen.Setup({fields})",
            f"parts = setup.split(corpus, {validation!r})",
            "train, validation, length = setup.datasets(*parts, corpus.tokenizer)",
            f"model = setup.model(corpus.tokenizer, length{labels})",
            compiling,
            fit,
        ]
    )


def _times(passes: float) -> str:
    if passes < 1:
        return f"{passes:.2f} times" if passes < 0.95 else "once"
    return f"{passes:.0f} times" if passes >= 1.5 else "once"


def _rounded(number: float) -> str:
    digits = max(0, len(str(int(number))) - 2)
    return f"{round(number, -digits):,.0f}"
