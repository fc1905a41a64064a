"""Generation: what every model can do with a prompt.

Names of dimensions: N texts, T steps, V symbols of the vocabulary, F features.

(More than 400 lines, a third of them the docstring and the arguments of `generate`.)
"""

import collections
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from textgen.decoding import beams, loop, stops
from textgen.decoding.request import (
    Request,
    Row,
    as_prompts,
    check_beams,
    refuse_others,
)
from textgen.decoding.scoring import BATCH_SIZES, Scorer, padded_rows

# How many batches of texts may hold no new one, before `exclude` gives up.
MAX_FRUITLESS_ROUNDS = 5


class Writer(Scorer):
    """Base class of models that generate and score text."""

    _compiled_decoder: loop.Decoder | None = None
    _compiled_search: beams.BeamSearch | None = None

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        max_new_tokens: int | None = None,
        temperature: float | Sequence[float] = 1.0,
        *,
        count: int | None = None,
        stop: str | int | Sequence[str | int] | None = None,
        max_lines: int | None = None,
        exclude: Iterable[str] | None = None,
        echo: bool = True,
        return_log_probs: bool = False,
        num_beams: int | None = None,
        length_penalty: float = 1.0,
        seed: int | None = None,
        unknown: str | None = None,
        sampler: loop.Sampler | None = None,
        logit_bias: dict[str, float] | None = None,
        forbidden: str | Sequence[str] | None = None,
        repetition_penalty: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        **others: Any,
    ) -> Any:
        """Writes text.

        Args:
            prompt: str, or list of str for one text each. What the text begins with;
                may be empty, and longer than the window.
            max_new_tokens: int or `None`. Symbols to write after the prompt. Defaults
                to `None`: 400, or 100 a line with `max_lines`, if that is more.
            temperature: float, at least 0. Below 1 the probable becomes more
                probable; 0 always takes the most probable symbol. A list is gone
                through symbol by symbol, and again from its first. Defaults to `1.0`.
            count: int or `None`. Texts to write for each prompt. Defaults to `None`,
                one.
            stop: str, int, list of these or `None`. Writing ends before the first of
                these in the new text; an int is the id of a symbol, which at word
                level is the whole word and no part of another. `()` for none. Defaults
                to `None`: where the texts end that the model learned, such as lines
                (`end_token`), unless `max_lines` is given.
            max_lines: int or `None`. Writing ends at the end of so many lines, of
                which blank ones do not count. Defaults to `None`.
            exclude: Iterable of str or `None`. With it, no text is one of these, is
                empty or comes twice. Where no more is found there are fewer than
                `count`, and a warning says so. Defaults to `None`.
            echo: bool. Whether the prompt is part of the result. Defaults to `True`.
            return_log_probs: bool. Whether to return, with each text, the natural
                logarithms of the probabilities of its new symbols, as the model has
                them: at temperature 1, with no rules. Defaults to `False`.
            num_beams: int or `None`. Searches for the most probable text with so many
                beams instead of drawing one; `count` is the number of the best to
                return. Defaults to `None`.
            length_penalty: float. Texts of a beam search are compared by log
                probability divided by `length ** length_penalty`. Defaults to `1.0`.
            seed: int or `None`. The same seed gives the same text, whatever else is
                written beside it (but for rounding, which in batches of different size
                can differ in the last digit). A prompt that comes again in a list
                gives what `count` gives: another text. Defaults to `None`, another
                text each time.
            unknown: str or `None`. What becomes of prompt symbols that the vocabulary
                lacks in every case, upper and lower; see `Vocabulary.encode`.
            sampler: Callable or `None`. A rule of one's own in place of sampling: takes
                the logits, a float array `(N, V)`, and the number of symbols written
                so far; returns N ids. Defaults to `None`.
            logit_bias: dict or `None`. Symbols, and what is added to their logits.
            forbidden: str, sequence of str or `None`. Symbols never to generate.
            repetition_penalty: float above 0 or `None`. The power to which the
                probability of the symbols so far is raised, the prompt's included;
                above 1, they are repeated less.
            top_k: int or `None`. Sample from the K most probable symbols.
            top_p: float in (0, 1] or `None`. Sample from the fewest most probable
                symbols that have this probability together.
            min_p: float in [0, 1] or `None`. Sample from the symbols that are at least
                this times as probable as the most probable one.
            typical_p: float in (0, 1] or `None`. Sample from the most typical symbols
                that have this probability together. These seven are applied in this
                order, the temperature after the penalty; see
                `textgen.decoding.sampling.rules`.
            **others: Refused, with the name that textgen has for it.

        Returns:
            The prompt, as typed, and its continuation: str for one prompt with
            `count=None`, otherwise a list of str. With `return_log_probs`, a tuple of
            text and float32 array in place of each str.

        Raises:
            ValueError: An argument is out of its range, or a prompt symbol is unknown.
        """
        refuse_others("generate", others)
        prompts = as_prompts(prompt)
        copies = 1 if count is None else count
        if copies < 1:
            raise ValueError(f"count={count} must be at least 1.")
        if not prompts:
            return []
        request = Request(
            self.vocabulary,
            max_new_tokens,
            temperature,
            self.default_stop(max_lines) if stop is None else stop,
            max_lines,
            seed,
            unknown,
            {
                "logit_bias": logit_bias,
                "forbidden": forbidden,
                "repetition_penalty": repetition_penalty,
                "top_k": top_k,
                "top_p": top_p,
                "min_p": min_p,
                "typical_p": typical_p,
            },
        )
        if num_beams is not None:
            check_beams(num_beams, length_penalty, copies, exclude, sampler)
            rows = [
                row
                for text in prompts
                for row in self._search(
                    text, request, num_beams, length_penalty, copies
                )
            ]
        elif exclude is not None:
            excluded = {self._as_written(text) for text in exclude}
            rows = [
                row
                for text in prompts
                for row in self._write_new(text, request, copies, excluded, sampler)
            ]
        else:
            rows = self._write_copies(prompts, copies, request, sampler)
        results: list = [(row.prompt if echo else "") + row.text for row in rows]
        if return_log_probs:
            results = [
                (text, row.kept_log_probs())
                for text, row in zip(results, rows, strict=True)
            ]
        if isinstance(prompt, str) and count is None and results:
            return results[0]
        return results

    def stream(
        self,
        prompt: str = "",
        max_new_tokens: int | None = None,
        temperature: float | Sequence[float] = 1.0,
        *,
        stop: str | int | Sequence[str | int] | None = None,
        max_lines: int | None = None,
        echo: bool = True,
        seed: int | None = None,
        unknown: str | None = None,
        sampler: loop.Sampler | None = None,
        logit_bias: dict[str, float] | None = None,
        forbidden: str | Sequence[str] | None = None,
        repetition_penalty: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        typical_p: float | None = None,
        **others: Any,
    ) -> Iterator[str]:
        """Writes text, and hands it over as it is made.

        The arguments are those of `generate`; the pieces, joined, are its result.

        Yields:
            str. First the prompt, then pieces of its continuation, which never end
            within a user-perceived character.

        Raises:
            ValueError: An argument is out of its range, or a prompt symbol is unknown.
        """
        refuse_others("stream", others)
        if not isinstance(prompt, str):
            raise ValueError(f"prompt={prompt!r} must be a str: a stream is one text.")
        request = Request(
            self.vocabulary,
            max_new_tokens,
            temperature,
            self.default_stop(max_lines) if stop is None else stop,
            max_lines,
            seed,
            unknown,
            {
                "logit_bias": logit_bias,
                "forbidden": forbidden,
                "repetition_penalty": repetition_penalty,
                "top_k": top_k,
                "top_p": top_p,
                "min_p": min_p,
                "typical_p": typical_p,
            },
        )
        row = Row(prompt, request)
        chunks = self._decode([prompt], [0], request, sampler)

        def pieces() -> Iterator[str]:
            if prompt and echo:
                yield prompt
            clusters = stops.ClusterFilter()
            for ids, log_probs in chunks:
                if shown := clusters.feed(row.feed(ids[0], log_probs[0])):
                    yield shown
                if row.done:
                    break
            if rest := clusters.feed(row.finish()) + clusters.flush():
                yield rest

        return pieces()

    def next_symbols(
        self, text: str = "", count: int = 10, unknown: str | None = None
    ) -> list[tuple[str, float]]:
        """Returns the symbols that most probably come next.

        Args:
            text: str. What comes before; may be empty.
            count: int. How many symbols, at most. Defaults to `10`.
            unknown: str or `None`. As for `generate`.

        Returns:
            list of symbol and probability, the most probable first.
        """
        if count < 1:
            raise ValueError(f"count={count} must be at least 1.")
        found: list[np.ndarray] = []

        def look(logits: np.ndarray, _: int) -> np.ndarray:
            found.append(logits[0].astype(np.float64))
            return np.zeros(1, np.int32)

        self._write([text], [0], Request(self.vocabulary, 1, unknown=unknown), look)
        [logits] = found
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        best = np.argsort(-probabilities, kind="stable")[:count]
        return [(self.vocabulary.symbols[i], float(probabilities[i])) for i in best]

    def _write_copies(
        self,
        prompts: list[str],
        copies: int,
        request: Request,
        sampler: loop.Sampler | None,
    ) -> list[Row]:
        """Generates so many texts for each prompt."""
        # Texts of one prompt are numbered, and the number decides with the seed, so
        # that a text does not depend on what other prompts are in the batch.
        texts = [text for text in prompts for _ in range(copies)]
        numbers: collections.Counter[str] = collections.Counter()
        streams = []
        for text in texts:
            streams.append(numbers[text])
            numbers[text] += 1
        return self._write(texts, streams, request, sampler)

    def _write(
        self,
        texts: list[str],
        streams: list[int],
        request: Request,
        sampler: loop.Sampler | None,
    ) -> list[Row]:
        rows = [Row(text, request) for text in texts]
        for at in range(0, len(rows), BATCH_SIZES[-1]):
            part = slice(at, at + BATCH_SIZES[-1])
            chunks = self._decode(texts[part], streams[part], request, sampler)
            for ids, log_probs in chunks:
                for row, each, scores in zip(rows[part], ids, log_probs, strict=True):
                    row.feed(each, scores)
                if all(row.done for row in rows[part]):
                    break
            for row in rows[part]:
                row.finish()
        return rows

    def _write_new(
        self,
        text: str,
        request: Request,
        count: int,
        excluded: set[str],
        sampler: loop.Sampler | None,
    ) -> list[Row]:
        """Writes texts that are neither excluded nor equal, as many as there are."""
        found: dict[str, Row] = {}
        start = self._as_written(text)
        stream = fruitless = 0
        while len(found) < count and fruitless < MAX_FRUITLESS_ROUNDS:
            streams = list(range(stream, stream + max(count, BATCH_SIZES[-1])))
            stream = streams[-1] + 1
            before = len(found)
            for row in self._write([text] * len(streams), streams, request, sampler):
                whole = start + row.text
                if row.text and whole not in excluded and len(found) < count:
                    found.setdefault(whole, row)
            fruitless = fruitless + 1 if len(found) == before else 0
        if len(found) < count:
            warnings.warn(
                f"Only {len(found)} of {count} new texts were found among {stream:,}; "
                "a higher temperature, or another prompt, gives more.",
                stacklevel=3,
            )
        return list(found.values())

    def _as_written(self, text: str) -> str:
        """A text in the model's own symbols."""
        encode, decode = self.vocabulary.encode, self.vocabulary.decode
        return decode(encode(text, "skip", match_case=False))

    def _search(
        self,
        text: str,
        request: Request,
        num_beams: int,
        length_penalty: float,
        count: int,
    ) -> list[Row]:
        """Returns the best texts of a beam search."""
        [prompt], carry, seen = self._begin([text], request)

        def ended(ids: list[int]) -> bool:
            row = Row(text, request)
            row.feed(np.array(ids), np.zeros(len(ids)))
            return row.done

        rows = []
        for ids, log_probs in self._beam_search().search(
            prompt,
            carry,
            request.max_new_tokens,
            num_beams,
            length_penalty,
            ended,
            request.rules,
            seen,
        )[:count]:
            row = Row(text, request)
            row.feed(np.array(ids), np.array(log_probs, np.float32))
            row.finish()
            rows.append(row)
        return rows or [Row(text, request)]

    def _decode(
        self,
        texts: list[str],
        streams: list[int],
        request: Request,
        sampler: loop.Sampler | None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Checks the prompts at once; returns an iterator over new ids."""
        count = len(texts)
        # More rows to make up a number; a sampler is Python, and is given no others.
        more = 0 if sampler is not None else padded_rows(count) - count
        texts, streams = texts + texts[:1] * more, streams + streams[:1] * more
        prompts, carry, seen = self._begin(texts, request)
        chunks = self._decoder().stream(
            prompts,
            carry,
            request.max_new_tokens,
            request.temperature,
            [np.random.default_rng([request.entropy, stream]) for stream in streams],
            sampler,
            request.rules,
            seen,
        )
        return ((ids[:count], log_probs[:count]) for ids, log_probs in chunks)

    def _begin(
        self, texts: list[str], request: Request
    ) -> tuple[list[np.ndarray], Any, np.ndarray | None]:
        """Returns what is left to feed of prompts, the carry, and the ids before, if
        there is a penalty for them."""
        unknown = request.unknown
        encoded = {
            text: self.prompt_ids(text, unknown) for text in dict.fromkeys(texts)
        }
        prompts = [encoded[text][0] for text in texts]
        empty = [encoded[text][1] for text in texts]
        stepwise = self.reader.num_stepwise
        cuts = [len(prompt) - stepwise(len(prompt)) for prompt in prompts]
        pairs = list(zip(prompts, cuts, strict=True))
        heads = [prompt[:cut] for prompt, cut in pairs]
        seen = None
        if "repetition_penalty" in request.rules:
            seen = np.zeros((len(texts), len(self.vocabulary)), bool)
            for row, head in zip(seen, heads, strict=True):
                row[head[head >= 0]] = True
        carry = self.reader.prime(heads, empty)
        return [prompt[cut:] for prompt, cut in pairs], carry, seen

    def _decoder(self) -> loop.Decoder:
        """The compiled decoding loop, made when it is first needed."""
        if self._compiled_decoder is None:
            self._compiled_decoder = loop.Decoder(
                self.reader.step, self.reader.variables
            )
        return self._compiled_decoder

    def _beam_search(self) -> beams.BeamSearch:
        """The compiled beam search, made when it is first needed."""
        if self._compiled_search is None:
            self._compiled_search = beams.BeamSearch(
                self.reader.step, self.reader.variables
            )
        return self._compiled_search
