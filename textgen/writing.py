"""What every model can do that predicts the next symbol: write, score, compare.

`Writer` is a base class that knows no network. A network says how it reads on, with
`_step` and `_read`, and everything else is built on that.

Names of dimensions: N texts, T steps, V symbols of the vocabulary, F features.
"""

import collections
import dataclasses
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops
from keras.tree import map_structure

from textgen import generation, sampling
from textgen.vocabulary import NO_SYMBOL, Vocabulary

# Texts are written and read in batches of one of these numbers of rows, so that there
# are few shapes to compile for, and memory does not grow with the number of texts.
_ROWS = (1, 4, 16, 64)
_LARGEST_LOGITS = 1 << 24  # logits of one read: 64 MiB in single precision
_ROUNDS = 5  # of new texts among which there may be none that was not written before


@dataclasses.dataclass(frozen=True)
class Score:
    """How well a model predicts a text.

    Attributes:
        nats: float. Mean negative log probability of a symbol, in nats.
        bits: float. The same in bits: nats divided by ln 2.
        perplexity: float. exp(nats).
        count: int. Symbols that were scored.
        log_probs: float32 array of shape `(count,)`. The natural logarithm of the
            probability of each symbol, in the order of the text.
    """

    nats: float
    bits: float
    perplexity: float
    count: int
    log_probs: np.ndarray


class Writer:
    """Base class of models that predict the next symbol of a text.

    A subclass has `vocabulary`, and says how it reads:

    - `_states(rows)` returns the carry before a text, a structure of tensors whose
      first axis is N. A model that slides a window instead calls `_slide`, and has
      the window, `[(N, L)]`, as its carry.
    - `start_step` says whether a text begins with a start step, in which `_start_id`
      is fed before the first symbol. Only models that were trained so have it; it is
      fed to all of them where a text is empty.
    - `_step(ids, carry)` feeds ids, `(N,)`, and returns logits, `(N, V)`, and the
      carry. It is compiled, and built of `keras.ops`.
    - `_read(ids, carry)` feeds ids, `(N, T)`, and returns features, `(N, T, F)`,
      logits, `(N, T, V)`, and the carry. `_longest_read` is the largest T, and
      `_most_read` the largest N times T, for the sake of memory.
    - `_reading()` lists the variables that these depend on.
    """

    vocabulary: Vocabulary
    start_step: bool = False
    _start_id: int = NO_SYMBOL
    _window: int | None = None
    _longest_read: int = 1024
    _most_read: int = 16384

    def _states(self, rows: int) -> Any:
        raise NotImplementedError

    def _step(self, ids: Any, carry: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def _read(self, ids: Any, carry: Any) -> tuple[Any, Any, Any]:
        raise NotImplementedError

    def _reading(self) -> Sequence:
        raise NotImplementedError

    def _slide(self, window: int) -> None:
        """Has the model write by a window of so many ids."""
        self._window = window
        self._longest_read = self._most_read = 512  # each a window

    @property
    def _starts(self) -> bool:
        """Whether the start id is fed before texts that are not empty, too.

        In a window it changes nothing: the window is full of it.
        """
        return self.start_step or self._window is not None

    def _start(self, rows: int, empty: bool = False) -> Any:
        """The carry before the ids of texts, as `_ids_of` returns them.

        Args:
            rows: int. Number of texts.
            empty: bool. Whether the texts are empty.
        """
        if self._window is None:
            return self._states(rows)
        return [np.full((rows, self._window), self._start_id, np.int32)]

    def _started(self, rows: int) -> Any:
        """The carry after the start step."""
        start = np.full((1, 1), self._start_id, np.int32)
        return _repeated(self._compiled_read("state")(start, self._start(1)), rows)

    def _left(self, length: int) -> int:
        """How many ids of a prompt are fed step by step; the others are primed with."""
        if self._window is not None:
            return 1  # the others stand in the window
        return (length - 1) % self._longest_read + 1

    def _prime(
        self, heads: list[np.ndarray], empty: Sequence[bool], started: bool = False
    ) -> Any:
        """Returns the carry after heads, each of a multiple of `_longest_read` ids;
        after any heads, by a window.

        Args:
            heads: list of int arrays. The first ids of texts.
            empty: Sequence of bool. Whether each text is empty.
            started: bool. Whether the heads lack the start step that the model has.
        """
        if self._window is not None:
            [windows] = self._start(len(heads))
            for window, head in zip(windows, heads, strict=True):
                last = head[-self._window :]
                window[self._window - len(last) :] = last
            return [windows]
        size = self._longest_read
        known: dict[tuple[bytes, bool], Any] = {}  # often all the same
        keys = [(head.tobytes(), no) for head, no in zip(heads, empty, strict=True)]
        for head, key in zip(heads, keys, strict=True):
            if key in known:
                continue
            if started and not key[1]:
                carry = self._started(1)
            else:
                carry = self._start(1, empty=key[1])
            for at in range(0, len(head), size):
                ids = head[np.newaxis, at : at + size]
                carry = self._compiled_read("state")(ids, carry)
            known[key] = carry
        if len(known) == 1:
            [carry] = known.values()
            return _repeated(carry, len(heads))
        return map_structure(
            lambda *xs: ops.concatenate(xs, axis=0),
            *(known[key] for key in keys),
        )

    # === Writing ===

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        max_new_tokens: int = 400,
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
        sampler: generation.Sampler | None = None,
        **rules: Any,
    ) -> Any:
        """Writes text.

        Args:
            prompt: str, or list of str for one text each. What the text begins with;
                may be empty, and longer than the window.
            max_new_tokens: int. Symbols to write after the prompt. Defaults to `400`.
            temperature: float, at least 0. Below 1 the probable becomes more
                probable; 0 always takes the most probable symbol. A list is gone
                through symbol by symbol, and again from its first. Defaults to `1.0`.
            count: int or `None`. Texts to write for each prompt. Defaults to `None`,
                one.
            stop: str, int, list of these or `None`. Writing ends before the first of
                these in the new text; an int is the id of a symbol, which at word
                level is the whole word and no part of another. Defaults to `None`.
            max_lines: int or `None`. Writing ends at the end of so many lines.
                Defaults to `None`.
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
            **rules: What is done to the probabilities, in this order: `logit_bias`
                (dict of symbol and float, added to its logit), `forbidden` (symbols
                never written), `repetition_penalty` (the prompt counts), temperature,
                `top_k`, `top_p`, `min_p`, `typical_p`; see `textgen.sampling.rules`.

        Returns:
            The prompt, as typed, and its continuation: str for one prompt with
            `count=None`, otherwise a list of str. With `return_log_probs`, a tuple of
            text and float32 array in place of each str.

        Raises:
            ValueError: An argument is out of its range, or a prompt symbol is unknown.
        """
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        copies = 1 if count is None else count
        if copies < 1:
            raise ValueError(f"count={count} must be at least 1.")
        if not prompts:
            return []
        request = _Request(
            self, max_new_tokens, temperature, stop, max_lines, seed, unknown, rules
        )
        if num_beams is not None:
            _check_beams(num_beams, length_penalty, copies, exclude, sampler)
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
            # Texts of one prompt are numbered, and the number decides with the seed, so
            # that a text does not depend on what other prompts are in the batch.
            texts = [text for text in prompts for _ in range(copies)]
            numbers: collections.Counter[str] = collections.Counter()
            streams = []
            for text in texts:
                streams.append(numbers[text])
                numbers[text] += 1
            rows = self._write(texts, streams, request, sampler)
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
        max_new_tokens: int = 400,
        temperature: float | Sequence[float] = 1.0,
        *,
        stop: str | int | Sequence[str | int] | None = None,
        max_lines: int | None = None,
        echo: bool = True,
        seed: int | None = None,
        unknown: str | None = None,
        sampler: generation.Sampler | None = None,
        **rules: Any,
    ) -> Iterator[str]:
        """Writes text, and hands it over as it is made.

        The arguments are those of `generate`; the pieces, joined, are its result.

        Yields:
            str. First the prompt, then pieces of its continuation, which never end
            within a user-perceived character.

        Raises:
            ValueError: An argument is out of its range, or a prompt symbol is unknown.
        """
        request = _Request(
            self, max_new_tokens, temperature, stop, max_lines, seed, unknown, rules
        )
        row = _Row(prompt, request)
        chunks = self._decode([prompt], [0], request, sampler)

        def pieces() -> Iterator[str]:
            if prompt and echo:
                yield prompt
            clusters = generation.ClusterFilter()
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

        self._write([text], [0], _Request(self, 1, unknown=unknown), look)
        [logits] = found
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        best = np.argsort(-probabilities, kind="stable")[:count]
        return [(self.vocabulary.symbols[i], float(probabilities[i])) for i in best]

    def _write(
        self,
        texts: list[str],
        streams: list[int],
        request: "_Request",
        sampler: generation.Sampler | None,
    ) -> list["_Row"]:
        rows = [_Row(text, request) for text in texts]
        for at in range(0, len(rows), _ROWS[-1]):
            part = slice(at, at + _ROWS[-1])
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
        request: "_Request",
        count: int,
        excluded: set[str],
        sampler: generation.Sampler | None,
    ) -> list["_Row"]:
        """Writes texts that are neither excluded nor equal, as many as there are."""
        found: dict[str, _Row] = {}
        start = self._as_written(text)
        stream = fruitless = 0
        while len(found) < count and fruitless < _ROUNDS:
            streams = list(range(stream, stream + max(count, _ROWS[-1])))
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
        request: "_Request",
        num_beams: int,
        length_penalty: float,
        count: int,
    ) -> list["_Row"]:
        """Returns the best texts of a beam search."""
        [prompt], carry, seen = self._begin([text], request)

        def ended(ids: list[int]) -> bool:
            row = _Row(text, request)
            row.feed(np.array(ids), np.zeros(len(ids)))
            return row.done

        rows = []
        for ids, log_probs in self._decoder().beams(
            prompt,
            carry,
            request.max_new_tokens,
            num_beams,
            length_penalty,
            ended,
            request.rules,
            seen,
        )[:count]:
            row = _Row(text, request)
            row.feed(np.array(ids), np.array(log_probs, np.float32))
            row.finish()
            rows.append(row)
        return rows or [_Row(text, request)]

    def _decode(
        self,
        texts: list[str],
        streams: list[int],
        request: "_Request",
        sampler: generation.Sampler | None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Checks the prompts at once; returns an iterator over new ids."""
        count = len(texts)
        # More rows to make up a number; a sampler is Python, and is given no others.
        more = 0 if sampler is not None else _number_of_rows(count) - count
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
        self, texts: list[str], request: "_Request"
    ) -> tuple[list[np.ndarray], Any, np.ndarray | None]:
        """Returns what is left to feed of prompts, the carry, and the ids before, if
        there is a penalty for them."""
        encoded = {
            text: self._ids_of(text, request.unknown) for text in dict.fromkeys(texts)
        }
        prompts = [encoded[text][0] for text in texts]
        empty = [encoded[text][1] for text in texts]
        cuts = [len(prompt) - self._left(len(prompt)) for prompt in prompts]
        pairs = list(zip(prompts, cuts, strict=True))
        heads = [prompt[:cut] for prompt, cut in pairs]
        seen = None
        if "repetition_penalty" in request.rules:
            seen = np.zeros((len(texts), len(self.vocabulary)), bool)
            for row, head in zip(seen, heads, strict=True):
                row[head[head >= 0]] = True
        return [prompt[cut:] for prompt, cut in pairs], self._prime(heads, empty), seen

    def _ids_of(self, text: str, unknown: str | None) -> tuple[np.ndarray, bool]:
        """The ids to feed for a text, int32, at least one; and whether it is empty."""
        ids = self.vocabulary.encode(text, unknown, match_case=False)
        start = [self._start_id] if self._starts or not len(ids) else []
        return np.append(np.array(start, np.int32), ids), not len(ids)

    # === Reading ===

    def score(self, text: str | Sequence[str], unknown: str | None = None) -> Score:
        """Says how probable the model finds a text.

        The state is carried through a text from its first symbol to its last, by a
        many-to-one model within its window. Each symbol counts once. The first one
        does not count for a many-to-many model without `start_step`: it never learned
        with which symbol a text begins.

        Args:
            text: str, or list of str that do not continue each other, such as names;
                give them the newline that ends them, if that is to count.
            unknown: str or `None`. What becomes of symbols that the vocabulary lacks;
                see `Vocabulary.encode`.

        Returns:
            A `Score`.

        Raises:
            ValueError: There is nothing to score, or a symbol is unknown.
        """
        texts = [text] if isinstance(text, str) else list(text)
        encoded = [self.vocabulary.encode(each, unknown) for each in texts]
        if self._starts:
            start = np.array([self._start_id], np.int32)
            encoded = [np.append(start, ids) for ids in encoded]
        # What is fed, and beside it what then comes: the last symbol is not fed.
        pairs = [(ids[:-1], ids[1:]) for ids in encoded]
        if not any(len(ids) for ids, _ in pairs):
            raise ValueError(
                "An empty text cannot be scored."
                if self._starts
                else "A text of fewer than two symbols cannot be scored: this model "
                "predicts each symbol from those before it (start_step=False)."
            )
        parts: list[list[np.ndarray]] = [[] for _ in texts]
        for row, _, scores in self._read_all(pairs, "scores"):
            parts[row].append(scores)
        log_probs = np.concatenate([piece for part in parts for piece in part])
        nats = -float(np.mean(log_probs, dtype=np.float64))
        perplexity = math.exp(nats) if nats < 700 else math.inf
        return Score(nats, nats / math.log(2), perplexity, len(log_probs), log_probs)

    def embed(
        self, text: str | Sequence[str], unknown: str | None = None
    ) -> np.ndarray:
        """Returns text vectors: the last hidden state after reading a text.

        Args:
            text: str, or list of str.
            unknown: str or `None`. As for `generate`.

        Returns:
            float array of shape `(F,)`, or `(N, F)` for a list.
        """
        texts = [text] if isinstance(text, str) else list(text)
        vectors: dict[int, np.ndarray] = {}
        # The carry before an empty text can be another one.
        encoded = [self._ids_of(each, unknown) for each in texts]
        for empty in (False, True):
            rows = [row for row, (_, no) in enumerate(encoded) if no is empty]
            pairs = [(encoded[row][0], encoded[row][0]) for row in rows]
            for index, at, features in self._read_all(pairs, "features", empty):
                last = len(pairs[index][0]) - 1 - at
                if 0 <= last < len(features):
                    # A copy, since a view would keep the features of a whole batch.
                    vectors[rows[index]] = features[last].copy()
        result = np.array([vectors[row] for row in range(len(texts))])
        return result[0] if isinstance(text, str) else result

    def nearest(
        self,
        text: str,
        texts: Sequence[str],
        count: int = 5,
        unknown: str | None = None,
    ) -> list[tuple[str, float]]:
        """Returns the texts whose vectors are nearest to that of a text.

        Args:
            text: str.
            texts: Sequence of str. Those among which to look.
            count: int. How many to return, at most. Defaults to `5`.
            unknown: str or `None`. As for `generate`.

        Returns:
            list of text and cosine similarity, from -1 to 1, the nearest first.
        """
        if not texts:
            raise ValueError("There are no texts among which to find the nearest.")
        vectors = self.embed([text, *texts], unknown).astype(np.float64)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        similarities = vectors[1:] @ vectors[0]
        best = np.argsort(-similarities, kind="stable")[:count]
        return [(texts[index], float(similarities[index])) for index in best]

    def _read_all(
        self,
        pairs: Sequence[tuple[np.ndarray, np.ndarray]],
        what: str,
        empty: bool = False,
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """Reads texts of any length, batch by batch and chunk by chunk.

        Args:
            pairs: Sequence of two arrays of ids of equal length: what to feed, and
                what to look up the probability of.
            what: `"scores"`, for log probabilities, or `"features"`.
            empty: bool. Whether the texts are empty.

        Yields:
            The number of a text, the position in it, and what was asked for there.
        """
        read = self._compiled_read(what)
        # Texts of like length together; few shapes, as each is compiled for.
        order = sorted(range(len(pairs)), key=lambda row: -len(pairs[row][0]))
        order = [row for row in order if len(pairs[row][0])]
        for first in range(0, len(order), _ROWS[-1]):
            rows = order[first : first + _ROWS[-1]]
            number = _number_of_rows(len(rows))
            longest = len(pairs[rows[0]][0])
            most = min(self._most_read, _LARGEST_LOGITS // len(self.vocabulary))
            most = max(1, most // number)
            size = 1 << max(longest - 1, 7).bit_length()
            # All are powers of two, and so is the last: few shapes again.
            size = min(size, self._longest_read, 1 << most.bit_length() - 1)
            carry = self._start(number, empty)
            for at in range(0, longest, size):
                fed = np.full((2, number, size), NO_SYMBOL, np.int32)
                for line, row in enumerate(rows):
                    for side, ids in zip(fed, pairs[row], strict=True):
                        piece = ids[at : at + size]
                        side[line, : len(piece)] = piece
                ids, wanted = fed
                ids[ids == NO_SYMBOL] = self._start_id  # all ids are to be valid ones
                result, carry = read(ids, carry, np.maximum(wanted, 0))
                result = ops.convert_to_numpy(result)
                for line, row in enumerate(rows):
                    count = min(size, len(pairs[row][0]) - at)
                    if count > 0:
                        yield row, at, result[line, :count]

    # === Compiled functions, made when they are first needed ===

    def _decoder(self) -> generation.Decoder:
        return self._made(
            "decoder", lambda: generation.Decoder(self._step, self._reading())
        )

    def _compiled_read(self, what: str) -> Any:
        def scores(ids: Any, carry: Any, wanted: Any) -> tuple:
            _, logits, carry = self._read(ids, carry)
            return sampling.log_probability(logits, wanted), carry

        def features(ids: Any, carry: Any, _: Any) -> tuple:
            found, _, carry = self._read(ids, carry)
            return sampling.at_least_float32(found), carry

        def state(ids: Any, carry: Any) -> Any:
            return self._read(ids, carry)[2]

        functions: dict[str, Any]
        functions = {"state": state, "scores": scores, "features": features}
        function = functions[what]
        return self._made(what, lambda: generation.compiled(function, self._reading()))

    def _made(self, name: str, make: Any) -> Any:
        made = self.__dict__.setdefault("_functions", {})
        if name not in made:
            made[name] = make()
        return made[name]


def _repeated(carry: Any, rows: int) -> Any:
    """The carry of one text, for so many."""
    return map_structure(
        lambda x: ops.repeat(ops.convert_to_tensor(x), rows, axis=0), carry
    )


def _number_of_rows(count: int) -> int:
    """The smallest number of rows of a batch for `count` texts, at most the largest."""
    return next(number for number in _ROWS if number >= count)


def windows_of(window: Any, ids: Any) -> tuple[Any, Any]:
    """The windows that end with each of some ids.

    Args:
        window: `(N, L)`. The ids before.
        ids: `(N, T)`.

    Returns:
        All windows, `(N T, L)`, and the last one of each row, `(N, L)`.
    """
    steps, length = ids.shape[1], window.shape[1]
    joined = ops.concatenate([window, ids], axis=1)
    places = np.arange(1, steps + 1)[:, np.newaxis] + np.arange(length)
    windows = ops.take(joined, places, axis=1)
    return ops.reshape(windows, (-1, length)), joined[:, -length:]


class _Request:
    """The arguments of `generate` and `stream`, checked."""

    def __init__(
        self,
        writer: Writer,
        max_new_tokens: int,
        temperature: float | Sequence[float] = 1.0,
        stop: str | int | Sequence[str | int] | None = None,
        max_lines: int | None = None,
        seed: int | None = None,
        unknown: str | None = None,
        rules: dict[str, Any] | None = None,
    ) -> None:
        vocabulary = writer.vocabulary
        if max_new_tokens < 0:
            raise ValueError(f"max_new_tokens={max_new_tokens} must not be negative.")
        if max_lines is not None and max_lines < 1:
            raise ValueError(f"max_lines={max_lines} must be at least 1.")
        if seed is not None and seed < 0:
            raise ValueError(f"seed={seed} must not be negative.")
        temperatures = np.atleast_1d(np.asarray(temperature, np.float64))
        if not temperatures.size or not all(
            0 <= each < math.inf for each in temperatures
        ):
            raise ValueError(
                f"temperature={temperature} must be a number from 0 (the most probable "
                "symbol) up, or a list of such; 1 leaves the model's probabilities as "
                "they are."
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
        bias = np.zeros(len(vocabulary), np.float32)
        for symbol, value in (rules.pop("logit_bias", None) or {}).items():
            if symbol not in vocabulary:
                raise ValueError(f"logit_bias: {symbol!r} is not in the vocabulary.")
            if not value < math.inf:
                raise ValueError(f"logit_bias: {value} for {symbol!r} must be finite.")
            bias[vocabulary.ids[symbol]] = value
        forbidden = rules.pop("forbidden", None) or ()
        if isinstance(forbidden, str):
            forbidden = vocabulary.tokens(forbidden)
        for symbol in forbidden:
            if symbol in vocabulary:  # no other is ever written
                bias[vocabulary.ids[symbol]] = -math.inf
        self.rules = sampling.rules(**rules, bias=bias)


class _Row:
    """One text that is being written: what is kept of the new ids, and its end."""

    def __init__(self, prompt: str, request: _Request) -> None:
        self.prompt = prompt
        self.text = ""
        self._request = request
        self._filter = generation.StopFilter(request.stops, request.max_lines)
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


def _check_beams(
    num_beams: int,
    length_penalty: float,
    count: int,
    exclude: Any,
    sampler: generation.Sampler | None,
) -> None:
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
