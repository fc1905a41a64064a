"""How probable a model finds a text, and text vectors.

`Scorer` knows no network: its reader says how the network reads on.

Names of dimensions: N texts, T steps, V tokens of the vocabulary, F features.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
from keras import ops

from textgen.decoding.readers import Reader
from textgen.text.vocabulary import NO_SYMBOL, Vocabulary

# Texts are generated and read in batches of one of these numbers of rows, so that there
# are few shapes to compile for, and memory does not grow with the number of texts.
BATCH_SIZES = (1, 4, 16, 64)

_MAX_LOGITS = 1 << 24  # logits of one read: 64 MiB in single precision


@dataclasses.dataclass(frozen=True, repr=False)
class Score:
    """How well a model predicts a text.

    Attributes:
        nats: float. Mean negative log probability of a symbol, in nats.
        bits: float. The same in bits: nats divided by ln 2.
        perplexity: float. exp(nats).
        count: int. Symbols that were scored.
        log_probs: float32 array of shape `(count,)`. The natural logarithm of the
            probability of each symbol, in the order of the text.
        text_nats: float64 array of shape `(N,)`. The `nats` of each text of a list, of
            one text otherwise; NaN for a text of which nothing counts.
    """

    nats: float
    bits: float
    perplexity: float
    count: int
    log_probs: np.ndarray
    text_nats: np.ndarray

    def __repr__(self) -> str:
        return (
            f"Score({self.nats:.4f} nats, {self.bits:.4f} bits, perplexity "
            f"{self.perplexity:.4g}, of {self.count:,} symbols)"
        )


class Scorer:
    """Base class of models that predict the next token of a text.

    A subclass has a vocabulary, and a reader, which says how its network reads on.

    Attributes:
        vocabulary: `Vocabulary`. Its tokens are the ids of the network.
        reader: `Reader`. How the network reads on.
        end_token: int or `None`. The id with which each text ends that the network
            learned, such as a newline; `None` where texts have no end.
    """

    vocabulary: Vocabulary
    reader: Reader
    end_token: int | None = None

    def default_stop(self, max_lines: int | None) -> int | None:
        """Returns where a text ends, if neither a stop nor `max_lines` says so."""
        return self.end_token if max_lines is None else None

    @property
    def start_step(self) -> bool:
        """Whether texts begin with a start step, as the network learned it."""
        return self.reader.start_step

    @start_step.setter
    def start_step(self, value: bool) -> None:
        self.reader.start_step = value

    def prompt_ids(self, text: str, unknown: str | None) -> tuple[np.ndarray, bool]:
        """Returns the ids to read for a prompt.

        Args:
            text: str.
            unknown: str or `None`. As for `generate`.

        Returns:
            int32 array, of at least one id: the start step's, where the reader begins
            with it or the text is empty, and those of the text; and whether the text
            is empty.
        """
        ids = self.vocabulary.encode(text, unknown, match_case=False)
        begins = self.reader.begins_with_start or not len(ids)
        start = [self.reader.start_id] if begins else []
        return np.append(np.array(start, np.int32), ids), not len(ids)

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
        begins = self.reader.begins_with_start
        if begins:
            start = np.array([self.reader.start_id], np.int32)
            encoded = [np.append(start, ids) for ids in encoded]
        # What is fed, and beside it what then comes: the last symbol is not fed.
        pairs = [(ids[:-1], ids[1:]) for ids in encoded]
        if not any(len(ids) for ids, _ in pairs):
            raise ValueError(
                "An empty text cannot be scored."
                if begins
                else "A text of fewer than two symbols cannot be scored: this model "
                "predicts each symbol from those before it (start_step=False)."
            )
        parts: list[list[np.ndarray]] = [[] for _ in texts]
        for row, _, scores in self._read_all(pairs, "scores"):
            parts[row].append(scores)
        log_probs = np.concatenate([piece for part in parts for piece in part])
        nats = -float(np.mean(log_probs, dtype=np.float64))
        perplexity = math.exp(nats) if nats < 700 else math.inf
        text_nats = np.array(
            [
                -np.mean(np.concatenate(part), dtype=np.float64) if part else math.nan
                for part in parts
            ]
        )
        count = len(log_probs)
        return Score(nats, nats / math.log(2), perplexity, count, log_probs, text_nats)

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
        encoded = [self.prompt_ids(each, unknown) for each in texts]
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
        read = self.reader.compiled_read(what)
        # Texts of like length together; few shapes, as each is compiled for.
        order = sorted(range(len(pairs)), key=lambda row: -len(pairs[row][0]))
        order = [row for row in order if len(pairs[row][0])]
        for first in range(0, len(order), BATCH_SIZES[-1]):
            rows = order[first : first + BATCH_SIZES[-1]]
            number = padded_rows(len(rows))
            longest = len(pairs[rows[0]][0])
            most = min(self.reader.max_read_size, _MAX_LOGITS // len(self.vocabulary))
            most = max(1, most // number)
            size = 1 << max(longest - 1, 7).bit_length()
            # All are powers of two, and so is the last: few shapes again.
            size = min(size, self.reader.max_read_steps, 1 << most.bit_length() - 1)
            carry = self.reader.initial(number, empty)
            for at in range(0, longest, size):
                fed = np.full((2, number, size), NO_SYMBOL, np.int32)
                for line, row in enumerate(rows):
                    for side, ids in zip(fed, pairs[row], strict=True):
                        piece = ids[at : at + size]
                        side[line, : len(piece)] = piece
                ids, wanted = fed
                ids[ids == NO_SYMBOL] = (
                    self.reader.start_id
                )  # all ids are to be valid ones
                result, carry = read(ids, carry, np.maximum(wanted, 0))
                result = ops.convert_to_numpy(result)
                for line, row in enumerate(rows):
                    count = min(size, len(pairs[row][0]) - at)
                    if count > 0:
                        yield row, at, result[line, :count]


def padded_rows(count: int) -> int:
    """The smallest number of rows of a batch for `count` texts, at most the largest."""
    return next(number for number in BATCH_SIZES if number >= count)
