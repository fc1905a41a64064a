"""The arguments of `generate`, checked, and the text that is being generated."""

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from textgen.decoding import loop, sampling, stops
from textgen.text.vocabulary import Vocabulary

# What other libraries call an argument of `generate`, and what it is here.
_OTHER_NAMES = {
    "do_sample": "temperature=0 takes the most probable symbol, any other one samples",
    "length": "max_new_tokens",
    "max_gen_length": "max_new_tokens",
    "max_length": "max_new_tokens (symbols after the prompt)",
    "max_tokens": "max_new_tokens",
    "n": "count",
    "num_return_sequences": "count",
    "num_samples": "count",
    "prefix": "prompt",
    "random_state": "seed",
    "return_as_list": "count=1 returns a list",
    "stop_strings": "stop",
    "stop_token_ids": "stop",
    "text": "prompt",
    "top_n": "top_k",
}


def default_length(max_lines: int | None) -> int:
    """Returns how many symbols are generated if `max_new_tokens` does not say so."""
    return max(400, 100 * (max_lines or 0))  # 100 are room for one line


def refuse_others(function: str, others: dict[str, Any]) -> None:
    """Raises TypeError for arguments that a function lacks, with their names here."""
    for name in others:
        hint = f": use {_OTHER_NAMES[name]}" if name in _OTHER_NAMES else ""
        raise TypeError(f"{function}() has no argument {name!r}{hint}.")


def as_prompts(prompt: Any) -> list[str]:
    """Returns the list of prompts; raises ValueError if it is none."""
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, Iterable):
        raise ValueError(f"prompt={prompt!r} must be a str or a list of str.")
    prompts = list(prompts)
    for each in prompts:
        if not isinstance(each, str):
            raise ValueError(f"prompt={prompt!r} must be a str or a list of str.")
    return prompts


class Request:
    """The arguments of `generate` and `stream`, checked."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        max_new_tokens: int | None,
        temperature: float | Sequence[float] = 1.0,
        stop: str | int | Sequence[str | int] | None = None,
        max_lines: int | None = None,
        seed: int | None = None,
        unknown: str | None = None,
        rules: dict[str, Any] | None = None,
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
                f"temperature={temperature!r} must be a number from 0 (the most "
                "probable symbol) up, or a list of such; 1 leaves the model's "
                "probabilities as they are."
            )
        self.decode = vocabulary.decode
        self.max_new_tokens = max_new_tokens
        self.temperature = temperatures.tolist()
        self.max_lines = max_lines
        self.unknown = unknown
        self.entropy: Any = np.random.SeedSequence().entropy if seed is None else seed
        stops = [stop] if isinstance(stop, str | int | np.integer) else stop or []
        self.stops = [each for each in stops if isinstance(each, str)]
        self.stop_ids = [int(each) for each in stops if not isinstance(each, str)]
        if "" in self.stops:
            raise ValueError("stop='' stops everything; leave stop out to write on.")
        for index in self.stop_ids:
            if not 0 <= index < len(vocabulary):
                raise ValueError(
                    f"stop={index} is no id of this vocabulary of {len(vocabulary)} "
                    "symbols."
                )
        rules = dict(rules or {})
        bias = _bias(
            vocabulary, rules.pop("logit_bias", None), rules.pop("forbidden", None)
        )
        self.rules = sampling.rules(**rules, bias=bias)


def _bias(vocabulary: Vocabulary, biases: Any, forbidden: Any) -> np.ndarray:
    """What is added to the logits, float32 of shape `(V,)`; -inf forbids."""
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
    forbidden = forbidden or ()
    if isinstance(forbidden, str):
        forbidden = vocabulary.tokens(forbidden)
    for symbol in forbidden:
        if symbol in vocabulary:  # no other is ever written
            bias[vocabulary.ids[symbol]] = -math.inf
    return bias


class Row:
    """One text that is being written: what is kept of the new ids, and its end."""

    def __init__(self, prompt: str, request: Request) -> None:
        self.prompt = prompt
        self.text = ""
        self._request = request
        blank = not prompt.rpartition("\n")[2].strip()
        self._filter = stops.StopFilter(request.stops, request.max_lines, blank)
        self._ids: list[np.ndarray] = []
        self._log_probs: list[np.ndarray] = []

    @property
    def done(self) -> bool:
        """Whether the text is at its end."""
        return self._filter.stopped

    def feed(self, ids: np.ndarray, log_probs: np.ndarray) -> str:
        """Takes the next ids, negative for none; returns the text that they add."""
        if self.done:
            return ""
        ids, log_probs = ids[ids >= 0], log_probs[ids >= 0]
        ends = np.flatnonzero(np.isin(ids, self._request.stop_ids))
        if len(ends):
            ids, log_probs = ids[: ends[0]], log_probs[: ends[0]]
        self._ids.append(ids)
        self._log_probs.append(log_probs)
        added = self._filter.feed(self._request.decode(ids))
        if len(ends) and not self.done:
            added += self._filter.flush()
            self._filter.stopped = True
        self.text += added
        return added

    def finish(self) -> str:
        """Returns the text that was held back, when nothing more comes."""
        rest = "" if self.done else self._filter.flush()
        self._filter.stopped = True
        self.text += rest
        return rest

    def kept_log_probs(self) -> np.ndarray:
        """The log probabilities of the symbols of `text`."""
        ids = np.concatenate([np.zeros(0, np.int32), *self._ids])
        lengths = [
            len(self._request.decode(ids[at : at + 1])) for at in range(len(ids))
        ]
        starts = np.cumsum(lengths, dtype=np.int64) - lengths
        scores = np.concatenate([np.zeros(0, np.float32), *self._log_probs])
        return scores[: int(np.sum(starts < len(self.text)))].astype(np.float32)


def check_beams(
    num_beams: int,
    length_penalty: float,
    count: int,
    exclude: Any,
    sampler: loop.Sampler | None,
) -> None:
    """Raises ValueError if the arguments of a beam search do not fit together."""
    if num_beams < 1:
        raise ValueError(f"num_beams={num_beams} must be at least 1.")
    if not math.isfinite(length_penalty):
        raise ValueError(f"length_penalty={length_penalty} must be a finite number.")
    if count > num_beams:
        raise ValueError(
            f"count={count} texts need num_beams of at least as many, not {num_beams}."
        )
    if exclude is not None or sampler is not None:
        raise ValueError("A beam search takes neither exclude nor sampler.")
