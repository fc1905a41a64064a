"""Text generation for all models.

Names of dimensions: N texts, V tokens of the vocabulary.

(More than 400 lines: half of them are the arguments of three methods, with docstrings.)
"""

import collections
import itertools
import math
import numbers
import warnings
from collections.abc import Container, Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from textgen.decoding import beams, loop, sampling, stops
from textgen.decoding.request import (
    Request,
    Row,
    as_prompts,
    check_beams,
    default_temperature,
    refuse_others,
)
from textgen.decoding.scoring import BATCH_SIZES, Scorer, padded_rows
from textgen.text.unknown import encode_each

# With `exclude`, the search ends after this number of batches without a new text.
MAX_FRUITLESS_ROUNDS = 5


class Writer(Scorer):
    """Base class of models that generate and score text."""

    _compiled_decoder: loop.Decoder | None = None
    _compiled_search: beams.BeamSearch | None = None

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        max_new_tokens: int | None = None,
        temperature: float | Sequence[float] | None = None,
        *,
        label: str | Sequence[str] | None = None,
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
        """Generates text.

        Args:
            prompt: str, or list of str for one text each. The beginning of the text. It
                may be empty, or longer than the window of the model.
            max_new_tokens: int or `None`. Maximum number of new tokens. Defaults to
                `None`: 400, or 100 for each of `max_lines` if that is more.
            temperature: float, at least 0, or sequence of float. Divides the logits: a
                value below 1 makes probable tokens more probable, and 0 always takes
                the most probable token. The values of a sequence are used in turn, one
                for each token. Defaults to `None`: 0.7, or 1 with a `sampler`.
            label: str, sequence of str, or `None`. Labels of the texts, such as their
                author, of a model that was trained with `labels`. Defaults to `None`:
                no labels.
            count: int or `None`. Number of texts for each prompt. Defaults to `None`,
                one text that is not in a list.
            stop: str, int, sequence of these or `None`. The text ends before the first
                of these strings, or of these token ids (at word level, an id is the
                complete word and never a part of another). `()` for no stop. Defaults
                to `None`: the `end_token` of the model, such as a newline, unless
                `max_lines` is given.
            max_lines: int or `None`. The text ends after this number of lines; blank
                lines do not count. Defaults to `None`.
            exclude: Iterable of str or `None`. Texts that must not be generated. If it
                is given, no text is empty or generated twice, either; if too few other
                texts are found, the result is shorter than `count`, with a warning.
                Defaults to `None`.
            echo: bool. Whether the result includes the prompt. Defaults to `True`.
            return_log_probs: bool. Whether to return each text with the natural
                logarithms of the probabilities of its new tokens, as the model
                predicts them: at temperature 1, without the options below. Defaults to
                `False`.
            num_beams: int or `None`. Number of beams of a beam search, which replaces
                random sampling; it returns the `count` best texts. Defaults to `None`.
            length_penalty: float. The beam search divides the log probability of a text
                by `length ** length_penalty`. Defaults to `1.0`.
            seed: int or `None`. The same seed gives the same text, independent of the
                other texts of the call (apart from rounding, which depends on the size
                of the batch). A prompt that is repeated in a list gives the texts that
                `count` gives. Defaults to `None`, a different text at each call.
            unknown: str or `None`. What to do with symbols of the prompt that are not
                in the vocabulary in any form; see `Vocabulary.encode`.
            sampler: Callable or `None`. Custom function that replaces random sampling:
                it takes the logits, a float array `(N, V)`, and the number of tokens
                generated so far, and returns N ids. Defaults to `None`.
            logit_bias: dict or `None`. Numbers that are added to the logits of symbols.
            forbidden: str, sequence of str or `None`. Symbols that are never generated.
                If tokens are bytes or subwords, these are ASCII characters, and every
                token that contains one is left out.
            repetition_penalty: float above 0 or `None`. The log probability of tokens
                that are already in the text, prompt included, is multiplied by this
                number: above 1, tokens are repeated less.
            top_k: int or `None`. Sample from the K most probable tokens.
            top_p: float in (0, 1] or `None`. Sample from the smallest set of most
                probable tokens whose total probability is at least this number.
            min_p: float in [0, 1] or `None`. Sample from the tokens whose probability
                is at least this number times that of the most probable token.
            typical_p: float in (0, 1] or `None`. Sample from the smallest set of most
                typical tokens whose total probability is at least this number. These
                seven options are applied in this order, and the temperature after the
                penalty; see `textgen.decoding.sampling.make_rules`.
            **others: Names of other libraries; the error says what textgen calls them.

        Returns:
            The prompt, as typed, and its continuation: str for one prompt with
            `count=None`, otherwise a list of str. With `return_log_probs`, each str is
            replaced by a tuple of the str and a float32 array `(new tokens,)`.

        Raises:
            TypeError: An argument does not exist; the message names a similar one.
            ValueError: An argument is out of its range, or a symbol of the prompt or a
                label is unknown.
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
            default_temperature(sampler) if temperature is None else temperature,
            self.default_stop(max_lines) if stop is None else stop,
            max_lines,
            seed,
            unknown,
            self.label_ids(label),
            logit_bias=logit_bias,
            forbidden=forbidden,
            repetition_penalty=repetition_penalty,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            typical_p=typical_p,
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
        temperature: float | Sequence[float] | None = None,
        *,
        label: str | Sequence[str] | None = None,
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
    ) -> Generator[str, None, str]:
        """Yields text as it is generated.

        The arguments are those of `generate`. The pieces, joined, are its result.

        Yields:
            str. First the prompt, then pieces of its continuation. No piece ends
            inside a user-perceived character.

        Returns:
            str. Why the text ended, the value of a `yield from`: `"stop"` at a stop or
            after `max_lines`, `"length"` after `max_new_tokens`.

        Raises:
            TypeError: An argument does not exist; the message names a similar one.
            ValueError: An argument is out of its range, or a symbol of the prompt or a
                label is unknown.
        """
        refuse_others("stream", others)
        if not isinstance(prompt, str):
            raise ValueError(f"prompt={prompt!r} must be a str: a stream is one text.")
        request = Request(
            self.vocabulary,
            max_new_tokens,
            default_temperature(sampler) if temperature is None else temperature,
            self.default_stop(max_lines) if stop is None else stop,
            max_lines,
            seed,
            unknown,
            self.label_ids(label),
            logit_bias=logit_bias,
            forbidden=forbidden,
            repetition_penalty=repetition_penalty,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            typical_p=typical_p,
        )
        row = Row(prompt, request)
        chunks = self._decode([prompt], [0], request, sampler)

        def pieces() -> Generator[str, None, str]:
            if prompt and echo:
                yield prompt
            clusters = stops.ClusterFilter()
            for ids, log_probs in chunks:
                if shown := clusters.feed(row.feed(ids[0], log_probs[0])):
                    yield shown
                if row.done:
                    break
            reason = "stop" if row.done else "length"
            if rest := clusters.feed(row.finish()) + clusters.flush():
                yield rest
            return reason

        return pieces()

    def generate_many(
        self,
        prompt: str = "",
        max_new_tokens: int | None = None,
        temperature: float | Sequence[float] | None = None,
        *,
        label: str | Sequence[str] | None = None,
        count: int | None = None,
        start: int = 0,
        stop: str | int | Sequence[str | int] | None = None,
        max_lines: int | None = None,
        echo: bool = True,
        return_log_probs: bool = False,
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
    ) -> Iterator[Any]:
        """Yields any number of texts, in the memory of one batch.

        With a seed, text i depends on the seed and on i only: not on `count`, and not
        on `start`. It is item i of `generate(prompt, count=n, seed=seed)`. (In a call
        of `generate` where its batch has another size, rounding can change it.)

        The prompt is read once. The texts are generated in batches of 64, so the first
        ones arrive together. To generate fewer than 64, `generate` is faster.

        Args:
            prompt: str. The beginning of each text. Defaults to `""`.
            count: int or `None`. The iterator ends after text `count - 1`. Defaults to
                `None`: it never ends.
            start: int. Number of the first text. With the same seed, the iterator
                continues an earlier one that was left after this number of texts.
                Defaults to `0`.
            sampler: Callable or `None`. As for `generate`; N is always 64.

        The other arguments are those of `generate`. There is no `exclude` and no
        `num_beams`, because they compare all texts: use `generate`.

        Yields:
            str, or a tuple with `return_log_probs`. As the items of `generate`.

        Raises:
            TypeError: An argument does not exist; the message names a similar one.
            ValueError: An argument is out of its range, or a symbol of the prompt or a
                label is unknown. It is raised by the call, before the first text.

        Example:

        ```python
        for name in model.generate_many(count=1_000_000, seed=1):
            file.write(name + "\\n")
        ```
        """
        refuse_others("generate_many", others)
        if not isinstance(prompt, str):
            raise ValueError(f"prompt={prompt!r} must be a str.")
        end = _end_of(count, start)
        request = Request(
            self.vocabulary,
            max_new_tokens,
            default_temperature(sampler) if temperature is None else temperature,
            self.default_stop(max_lines) if stop is None else stop,
            max_lines,
            seed,
            unknown,
            self.label_ids(label),
            logit_bias=logit_bias,
            forbidden=forbidden,
            repetition_penalty=repetition_penalty,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            typical_p=typical_p,
        )
        size = BATCH_SIZES[-1]
        begun = self._begin([prompt] * size, request, {prompt})

        def results() -> Iterator[Any]:
            # Each text has the same row of the same batch for any `start`: in another
            # place, or in a smaller batch, it could be rounded differently.
            for first in itertools.count(start - start % size, size):
                if max(first, start) >= end:
                    return
                streams = range(first, first + size)
                rows = [Row(prompt, request) for _ in streams]
                _fill(rows, self._chunks(*begun, streams, request, sampler))
                for number, row in zip(streams, rows, strict=True):
                    if start <= number < end:
                        text = (prompt if echo else "") + row.text
                        scored = return_log_probs
                        yield (text, row.kept_log_probs()) if scored else text

        return results()

    def next_symbols(
        self,
        text: str = "",
        count: int = 10,
        unknown: str | None = None,
        label: str | Sequence[str] | None = None,
    ) -> list[tuple[str, float]]:
        """Returns the most probable next symbols after a text.

        Args:
            text: str. May be empty. Defaults to `""`.
            count: int. Maximum number of symbols. Defaults to `10`.
            unknown: str or `None`. As for `generate`.
            label: str, sequence of str, or `None`. As for `generate`.

        Returns:
            list of tuples `(symbol, probability)`, the most probable first. A symbol is
            a str of `vocabulary.symbols`.

        Raises:
            ValueError: `count` is less than 1, or a symbol of the text or a label is
                unknown.
        """
        if count < 1:
            raise ValueError(f"count={count} must be at least 1.")
        found: list[np.ndarray] = []

        def look(logits: np.ndarray, _: int) -> np.ndarray:
            found.append(logits[0].astype(np.float64))
            return np.zeros(1, np.int32)

        labels = self.label_ids(label)
        request = Request(
            self.vocabulary, 1, temperature=1.0, unknown=unknown, labels=labels
        )
        self._write([text], [0], request, look)
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
        """Generates `copies` texts for each prompt."""
        # The number of a text among those of its prompt decides together with the seed,
        # so that a text does not depend on the other prompts of the batch.
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
        """Generates one text for each item of `texts`, in batches."""
        rows = [Row(text, request) for text in texts]
        numbers = collections.Counter(texts)
        shared = {text for text in numbers if numbers[text] > BATCH_SIZES[-1]}
        known: dict = {}
        for at in range(0, len(rows), BATCH_SIZES[-1]):
            part = slice(at, at + BATCH_SIZES[-1])
            chunks = self._decode(
                texts[part], streams[part], request, sampler, shared, known
            )
            _fill(rows[part], chunks)
        return rows

    def _write_new(
        self,
        text: str,
        request: Request,
        count: int,
        excluded: set[str],
        sampler: loop.Sampler | None,
    ) -> list[Row]:
        """Generates `count` different texts that are not excluded, or fewer."""
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
                f"Only {len(found)} of {count} new texts were found among {stream:,}: "
                "use a higher temperature or another prompt.",
                stacklevel=3,
            )
        return list(found.values())

    def _as_written(self, text: str) -> str:
        """Returns a text in the symbols of the vocabulary."""
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
        shared: Container[str] = (),
        known: dict | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Checks the prompts now; returns an iterator over the new ids."""
        count = len(texts)
        # Padding rows limit the number of shapes; a custom sampler must not see them.
        more = 0 if sampler is not None else padded_rows(count) - count
        texts, streams = texts + texts[:1] * more, streams + streams[:1] * more
        begun = self._begin(texts, request, shared, known)
        chunks = self._chunks(*begun, streams, request, sampler)
        return ((ids[:count], log_probs[:count]) for ids, log_probs in chunks)

    def _chunks(
        self,
        prompts: list[np.ndarray],
        carry: Any,
        seen: np.ndarray | None,
        streams: Iterable[int],
        request: Request,
        sampler: loop.Sampler | None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Returns an iterator over the ids that continue the result of `_begin`."""
        return self._decoder().stream(
            prompts,
            carry,
            request.max_new_tokens,
            request.temperature,
            [np.random.default_rng([request.entropy, stream]) for stream in streams],
            sampler,
            request.rules,
            None if seen is None else seen.copy(),  # with a sampler, it is changed
        )

    def _begin(
        self,
        texts: list[str],
        request: Request,
        shared: Container[str] = (),
        known: dict | None = None,
    ) -> tuple[list[np.ndarray], Any, np.ndarray | None]:
        """Reads the prompts of a batch, as far as they are not read in the loop.

        Args:
            texts: list of str. The prompts.
            request: `Request`.
            shared: Container of str. Prompts that several batches need: they are read
                once, up to their last token. Defaults to none.
            known: dict or `None`. What was read for earlier batches; it is extended.

        Returns:
            The ids of each prompt that the loop must read, the carry before them, and
            which tokens came before them, if there is a repetition penalty.
        """
        different = list(dict.fromkeys(texts))
        found = encode_each(
            different, lambda x: self.prompt_ids(x, request.unknown, request.labels)
        )
        encoded = dict(zip(different, found, strict=True))
        prompts, empty = zip(*(encoded[text] for text in texts), strict=True)
        num_stepwise = self.reader.num_stepwise
        cuts = [
            len(prompt) - (1 if text in shared else num_stepwise(len(prompt)))
            for text, prompt in zip(texts, prompts, strict=True)
        ]
        heads = [prompt[:cut] for prompt, cut in zip(prompts, cuts, strict=True)]
        seen = None
        if "repetition_penalty" in request.rules:
            seen = np.zeros((len(texts), len(self.vocabulary)), bool)
            for row, head in enumerate(heads):
                sampling.mark(seen, np.full(len(head), row), head)
        carry = self.reader.prime(heads, empty, known=known)
        rest = [prompt[cut:] for prompt, cut in zip(prompts, cuts, strict=True)]
        return rest, carry, seen

    def _decoder(self) -> loop.Decoder:
        """Returns the compiled decoding loop, built at the first call."""
        if self._compiled_decoder is None:
            self._compiled_decoder = loop.Decoder(
                self.reader.step, self.reader.variables, self.reader.key
            )
        return self._compiled_decoder

    def _beam_search(self) -> beams.BeamSearch:
        """Returns the compiled beam search, built at the first call."""
        if self._compiled_search is None:
            self._compiled_search = beams.BeamSearch(
                self.reader.step, self.reader.variables, self.reader.key
            )
        return self._compiled_search


def _end_of(count: int | None, start: int) -> float:
    """Returns the number of the first text that is not generated."""
    for name, value, least in (("count", count, 1), ("start", start, 0)):
        if value is None and name == "count":
            continue
        if not isinstance(value, numbers.Integral) or value < least:
            raise ValueError(
                f"{name}={value!r} must be an integer of at least {least}."
            )
    end = math.inf if count is None else count
    if start > end:
        raise ValueError(
            f"start={start} must be at most count={count}, which also counts the texts "
            "before `start`."
        )
    return end


def _fill(rows: list[Row], chunks: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
    """Generates the texts of a batch."""
    for ids, log_probs in chunks:
        for row, each, scores in zip(rows, ids, log_probs, strict=True):
            row.feed(each, scores)
        if all(row.done for row in rows):
            break
    for row in rows:
        row.finish()
