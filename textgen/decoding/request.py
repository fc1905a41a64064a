"""The checked arguments of `generate`, and the text during generation."""

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from textgen.decoding import loop, sampling, stops
from textgen.decoding.defaults import TEMPERATURE, default_length
from textgen.text.tokenizer import Tokenizer

# Names in other libraries, and what to use in textgen.
_OTHER_NAMES = {
    "do_sample": "temperature (0 takes the most probable token, above 0 samples)",
    "length": "max_new_tokens",
    "max_gen_length": "max_new_tokens",
    "max_length": "max_new_tokens (tokens after the prompt)",
    "max_tokens": "max_new_tokens",
    "n": "count",
    "num_return_sequences": "count",
    "num_samples": "count",
    "prefix": "prompt",
    "random_state": "seed",
    "return_as_list": "count=1, which returns a list",
    "stop_strings": "stop",
    "stop_token_ids": "stop",
    "text": "prompt",
    "top_n": "top_k",
}


def refuse_others(function: str, others: dict[str, Any]) -> None:
    """Raises TypeError for unknown arguments; the message says what to use."""
    for name in others:
        hint = f": use {_OTHER_NAMES[name]}" if name in _OTHER_NAMES else ""
        raise TypeError(f"{function}() has no argument {name!r}{hint}.")


def default_temperature(sampler: loop.Sampler | None) -> float:
    """Returns the temperature if none is given; a custom sampler gets the logits."""
    return TEMPERATURE if sampler is None else 1.0


def as_prompts(prompt: Any) -> list[str]:
    """Returns a list of prompts; raises ValueError for other types."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, Iterable):
        raise ValueError(f"prompt={prompt!r} must be a str or a list of str.")
    prompts = list(prompts)
    for each in prompts:
        if not isinstance(each, str):
            raise ValueError(f"prompt={prompt!r} must be a str or a list of str.")
    return prompts


class Request:
    """The checked arguments of `Writer.generate` and `Writer.stream`.

    Args:
        vocabulary: `Tokenizer`.
        labels: Sequence of int. The ids of the labels of the texts. Defaults to none.
        **rules: `logit_bias`, `forbidden`, and the options of `sampling.make_rules`.

    The other arguments are those of `Writer.generate`.

    Raises:
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        vocabulary: Tokenizer,
        max_new_tokens: int | None,
        temperature: float | Sequence[float],
        stop: str | int | Sequence[str | int] | None = None,
        max_lines: int | None = None,
        seed: int | None = None,
        unknown: str | None = None,
        labels: Sequence[int] = (),
        **rules: Any,
    ) -> None:
        for name, value in (
            ("max_new_tokens", max_new_tokens),
            ("max_lines", max_lines),
            ("seed", seed),
        ):
            if value is not None and not isinstance(value, numbers.Integral):
                raise ValueError(f"{name}={value!r} must be an integer.")
        if max_new_tokens is None:
            max_new_tokens = default_length(max_lines)
        if max_new_tokens < 0:
            raise ValueError(f"max_new_tokens={max_new_tokens} must not be negative.")
        if max_lines is not None and max_lines < 1:
            raise ValueError(f"max_lines={max_lines} must be at least 1.")
        if seed is not None and seed < 0:
            raise ValueError(f"seed={seed} must not be negative.")
        try:
            temperatures = np.atleast_1d(np.asarray(temperature, np.float64))
        except (TypeError, ValueError):
            temperatures = np.array([math.nan])
        if not temperatures.size or not all(
            0 <= each < math.inf for each in temperatures
        ):
            raise ValueError(
                f"temperature={temperature!r} must be a number of at least 0, or a "
                "list of them; 0 takes the most probable token, and 1 keeps the "
                "probabilities of the model."
            )
        self.vocabulary = vocabulary
        self.max_new_tokens = max_new_tokens
        self.temperature = temperatures.tolist()
        self.max_lines = max_lines
        self.unknown = unknown
        self.labels = labels
        self.entropy: Any = np.random.SeedSequence().entropy if seed is None else seed
        stops = [stop] if isinstance(stop, str | int | np.integer) else stop or []
        self.stops = [each for each in stops if isinstance(each, str)]
        self.stop_ids = [int(each) for each in stops if not isinstance(each, str)]
        if "" in self.stops:
            raise ValueError("stop='' must not be empty; omit stop for no stop string.")
        for index in self.stop_ids:
            if not 0 <= index < len(vocabulary):
                raise ValueError(
                    f"stop={index} must be an id of this vocabulary, from 0 to "
                    f"{len(vocabulary) - 1}."
                )
        bias = _bias(
            vocabulary, rules.pop("logit_bias", None), rules.pop("forbidden", None)
        )
        self.rules = sampling.make_rules(**rules, bias=bias)


def _bias(vocabulary: Tokenizer, biases: Any, forbidden: Any) -> np.ndarray:
    """Returns the numbers to add to the logits, float32 `(V,)`; -inf forbids."""
    bias = np.zeros(len(vocabulary), np.float32)
    biases = biases or {}
    if not isinstance(biases, Mapping):
        raise ValueError(
            f"logit_bias={biases!r} must be a dict of symbols and numbers, such as "
            "{'e': 1.5}."
        )
    for symbol, value in biases.items():
        if symbol not in vocabulary:
            raise ValueError(f"logit_bias: {symbol!r} is not in the vocabulary.")
        if not isinstance(value, numbers.Real) or not value < math.inf:
            raise ValueError(
                f"logit_bias: {value!r} for {symbol!r} must be a finite number."
            )
        bias[vocabulary.ids[symbol]] = value
    bias[vocabulary.ids_with(forbidden or ())] = -math.inf
    return bias


class Row:
    """One text during generation: decodes its new ids, and finds its end.

    Args:
        prompt: str. The beginning of the text.
        request: `Request`.

    Attributes:
        text: str. The text after the prompt.
    """

    def __init__(self, prompt: str, request: Request) -> None:
        self.prompt = prompt
        self.text = ""
        self._request = request
        self._decoder = request.vocabulary.decoder()
        blank = not prompt.rpartition("\n")[2].strip()
        self._filter = stops.StopFilter(request.stops, request.max_lines, blank)
        self._ids: list[np.ndarray] = []
        self._log_probs: list[np.ndarray] = []

    @property
    def done(self) -> bool:
        """Whether the text is complete."""
        return self._filter.stopped

    def feed(self, ids: np.ndarray, log_probs: np.ndarray) -> str:
        """Takes the next ids, negative ones are ignored; returns the text they add."""
        if self.done:
            return ""
        ids, log_probs = ids[ids >= 0], log_probs[ids >= 0]
        ends = np.flatnonzero(np.isin(ids, self._request.stop_ids))
        if len(ends):
            ids, log_probs = ids[: ends[0]], log_probs[: ends[0]]
        self._ids.append(ids)
        self._log_probs.append(log_probs)
        added = self._filter.feed(self._decoder.feed(ids))
        self.text += added
        return added + self.finish() if len(ends) else added

    def finish(self) -> str:
        """Ends the text; returns the last piece, which was held back until now.

        A part of a character at the end is left out: the number of tokens cut it.
        """
        rest = "" if self.done else self._filter.flush()
        self._filter.stopped = True
        self.text += rest
        return rest

    def kept_log_probs(self) -> np.ndarray:
        """Returns the log probabilities, float32, of the tokens of `text`."""
        ids = np.concatenate([np.zeros(0, np.int32), *self._ids])
        lengths = self._request.vocabulary.text_lengths(ids)
        starts = np.cumsum(lengths) - lengths
        scores = np.concatenate([np.zeros(0, np.float32), *self._log_probs])
        return scores[: int(np.sum(starts < len(self.text)))].astype(np.float32)


def check_beams(
    num_beams: int,
    length_penalty: float,
    count: int,
    exclude: Any,
    sampler: loop.Sampler | None,
) -> None:
    """Raises ValueError if the arguments of a beam search contradict each other."""
    if num_beams < 1:
        raise ValueError(f"num_beams={num_beams} must be at least 1.")
    if not math.isfinite(length_penalty):
        raise ValueError(f"length_penalty={length_penalty} must be a finite number.")
    if count > num_beams:
        raise ValueError(
            f"count={count} must not be greater than num_beams={num_beams}."
        )
    if exclude is not None or sampler is not None:
        raise ValueError("exclude and sampler cannot be used with num_beams.")
