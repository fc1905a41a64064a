"""Scores of texts, and text vectors.

`Scorer` works with any network: its reader says how the network reads a text.

Names of dimensions: N texts, T steps, V tokens of the vocabulary, F features.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from keras import ops

from textgen.decoding.adaptation import (
    Adaptation,
    adaptation_of,
    adapted_log_probs,
)
from textgen.decoding.alternatives import check_alternatives, most_probable
from textgen.decoding.defaults import BATCH_SIZE
from textgen.decoding.readers import Reader
from textgen.decoding.score import Score
from textgen.text.labels import label_ids
from textgen.text.tokenizer import NO_SYMBOL, Tokenizer
from textgen.text.unknown import encode_each

# Batches have one of these numbers of rows: the compiled functions see few shapes, and
# the memory does not grow with the number of texts.
BATCH_SIZES = (1, 4, 16, BATCH_SIZE)

_PIECE = 1 << 16  # tokens that are decoded at once

_MAX_LOGITS = 1 << 24  # logits of one read: 64 MiB in single precision

# Steps of a read that returns all probabilities: the texts are often short, and a
# single shape is compiled.
_SPREAD_STEPS = 256


class Scorer:
    """Base class of models that predict the next token of a text.

    Attributes:
        vocabulary: `Tokenizer`. Converts text to the ids of the network.
        reader: `Reader`. Says how the network reads a text.
        end_token: int or `None`. The id that ended each text of the training, such as
            that of a newline; `None` if the texts had no end.
        labels: Sequence of str. The labels that a text can have.
    """

    vocabulary: Tokenizer
    reader: Reader
    end_token: int | None = None
    labels: Sequence[str] = ()

    def default_stop(self, max_lines: int | None) -> int | None:
        """Returns the id at which generation stops if no `stop` is given."""
        return self.end_token if max_lines is None else None

    @property
    def start_step(self) -> bool:
        """Whether each text of the training began with a start step."""
        return self.reader.start_step

    @start_step.setter
    def start_step(self, value: bool) -> None:
        self.reader.start_step = value

    def label_ids(self, label: str | Sequence[str] | None) -> list[int]:
        """Returns the ids of labels, ascending, as in the lines of a training.

        Args:
            label: str, sequence of str, or `None` for no label.

        Raises:
            ValueError: A label is not known; the message lists those that are.
        """
        found = [label] if isinstance(label, str) else label or []
        return sorted(set(label_ids(self.labels, found, len(self.vocabulary))))

    def prompt_ids(
        self, text: str, unknown: str | None, labels: Sequence[int] = ()
    ) -> tuple[np.ndarray, bool]:
        """Returns the ids to read for a prompt.

        Args:
            text: str.
            unknown: str or `None`. As for `generate`.
            labels: Sequence of int. Ids that are read before the text. Defaults to
                none.

        Returns:
            The ids, an int32 array, and whether the text is empty. The first id is the
            start step if the reader begins with it or the text is empty.
        """
        ids = self.vocabulary.encode(text, unknown, match_case=False)
        if labels:
            ids = np.append(labels, ids)
        begins = self.reader.begins_with_start or not len(ids)
        start = [self.reader.start_id] if begins else []
        return np.append(np.array(start, np.int32), ids), not len(ids)

    def score(
        self,
        text: str | np.ndarray | Sequence[str | np.ndarray],
        unknown: str | None = None,
        adapt: bool | Adaptation = False,
        progress: Callable[[int, int], None] | None = None,
        label: str | Sequence[str] | None = None,
        alternatives: int | None = None,
    ) -> Score:
        """Measures how well the model predicts a text.

        A many-to-many model carries its state from the first token to the last; a
        many-to-one model sees the window before each token. Each token counts once.
        The first token counts only if the model can predict it: a many-to-many model
        needs a `start_step` for that.

        Args:
            text: str, or list of separate texts, such as names. Add the newline that
                ends a name, if its probability counts. In place of a str, also its ids,
                an integer array of shape `(tokens,)`; the ids of labels may come before
                them.
            unknown: str or `None`. What to do with symbols that are not in the
                vocabulary; see `Vocabulary.encode`.
            adapt: bool or `Adaptation`. Dynamic evaluation: whether and how the model
                learns from each stretch of the text after it was scored. The texts of a
                list are read in their order, and what was learned from one text helps
                with the next. The model is not changed, unless `keep=True`. Defaults to
                `False`: the static score.
            progress: Function `(done, total)`, or `None`. It is called now and then
                with the number of tokens that were scored, and of all tokens.
            label: str, sequence of str, or `None`. The labels of all texts. Defaults to
                `None`: no labels.
            alternatives: int or `None`. Number of most probable tokens to look up at
                the place of each token, for `Score.alternatives`; their probabilities
                are those of `next_symbols`. Defaults to `None`: none.

        Returns:
            A `Score`; `adapted` says of which kind.

        Raises:
            ValueError: There is nothing to score, a symbol is unknown (the message
                quotes the text of a list), a label is unknown, `adapt` is something
                else, all weights are frozen, the adaptation diverged, or
                `alternatives` is below 1 or given together with `adapt`.
        """
        adaptation = adaptation_of(adapt)
        check_alternatives(alternatives, adaptation)
        texts = [text] if isinstance(text, str | np.ndarray) else list(text)
        encoded = encode_each(texts, lambda each: self._ids_of(each, unknown))
        begins = self.reader.begins_with_start
        skipped = 0 if begins else 1
        start = [self.reader.start_id] if begins else []
        before, pairs, characters = self.label_ids(label), [], 0
        for own, ids in encoded:
            labels = [*before, *own]
            characters += self._count_characters(ids, 0 if labels else skipped)
            first = np.array([*start, *labels], np.int32)
            read = np.append(first, ids) if len(first) else ids
            # The last token is a target only, and labels are none.
            targets = read[1:]
            if labels:
                targets = np.where(targets < len(self.vocabulary), targets, NO_SYMBOL)
            pairs.append((read[:-1], targets))
        if not any((targets >= 0).any() for _, targets in pairs):
            raise ValueError(
                "The text is empty: there is nothing to score."
                if begins
                else "The text has fewer than two tokens: this model predicts a token "
                "only from tokens before it (start_step=False)."
            )
        report = _Report(progress, sum(len(ids) for ids, _ in pairs))
        found = None
        if alternatives is not None:
            parts, found = self._spread(pairs, alternatives, report)
        elif adaptation is None:
            parts = self._static_log_probs(pairs, report)
        else:
            parts = adapted_log_probs(self.reader, pairs, adaptation, report)
        if self.labels:
            parts = [
                part[targets >= 0]
                for part, (_, targets) in zip(parts, pairs, strict=True)
            ]
        log_probs = np.concatenate(parts)
        nats = -float(np.mean(log_probs, dtype=np.float64))
        return Score(
            nats,
            bits=nats / math.log(2),
            perplexity=math.exp(nats) if nats < 700 else math.inf,
            count=len(log_probs),
            log_probs=log_probs,
            text_nats=np.array(
                [
                    -np.mean(part, dtype=np.float64) if len(part) else math.nan
                    for part in parts
                ]
            ),
            adapted=adaptation is not None,
            characters=characters,
            alternatives=found,
        )

    def _count_characters(self, ids: np.ndarray, skipped: int) -> int:
        """Returns how many characters the ids after the first ones complete."""
        decoder = self.vocabulary.decoder()
        decoder.feed(ids[:skipped])
        pieces = (
            decoder.feed(ids[at : at + _PIECE])
            for at in range(skipped, len(ids), _PIECE)
        )
        return sum(map(len, pieces)) + len(decoder.flush())

    def _ids_of(
        self, text: str | np.ndarray, unknown: str | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ids of the labels and of the tokens of a text; checks ids."""
        if isinstance(text, str):
            return np.zeros(0, np.int32), self.vocabulary.encode(text, unknown)
        size, count = len(self.vocabulary), 0
        while text.ndim == 1 and count < len(text) and size <= text[count]:
            if text[count] >= size + len(self.labels):
                break  # an error below
            count += 1
        labels, ids = text[:count], self.vocabulary.as_ids(text[count:])
        if ids.ndim != 1 or (ids.size and ids.min() < 0):
            raise ValueError(
                f"The ids of a text are (tokens,), from 0 on; got shape {ids.shape}."
            )
        return labels, ids

    def _static_log_probs(
        self,
        pairs: Sequence[tuple[np.ndarray, np.ndarray]],
        report: Callable[[int], None],
    ) -> list[np.ndarray]:
        """Returns the log probability of each target of each text."""
        parts = [[np.zeros(0, np.float32)] for _ in pairs]
        for row, _, scores in self._read_all(pairs, "scores"):
            parts[row].append(scores)
            report(len(scores))
        return [np.concatenate(part) for part in parts]

    def _spread(
        self,
        pairs: Sequence[tuple[np.ndarray, np.ndarray]],
        count: int,
        report: Callable[[int], None],
    ) -> tuple[list[np.ndarray], list[list[tuple[str, float]]]]:
        """Returns the log probability of each target, and the most probable tokens."""
        symbols = self.vocabulary.symbols
        parts = [[np.zeros(0, np.float32)] for _ in pairs]
        others: list[list[list[tuple[str, float]]]] = [[] for _ in pairs]
        for row, at, log_probs in self._read_all(pairs, "spread"):
            wanted = pairs[row][1][at : at + len(log_probs)]
            steps = np.arange(len(log_probs))
            parts[row].append(log_probs[steps, np.maximum(wanted, 0)])
            scored = log_probs[wanted != NO_SYMBOL]
            others[row] += most_probable(scored, symbols, count)
            report(len(log_probs))
        joined = [np.concatenate(part) for part in parts]
        return joined, [each for row in others for each in row]

    def embed(
        self, text: str | Sequence[str], unknown: str | None = None
    ) -> np.ndarray:
        """Returns text vectors: the last hidden state after a text.

        Args:
            text: str, or list of str.
            unknown: str or `None`. As for `generate`.

        Returns:
            float array of shape `(F,)`, or `(N, F)` for a list.

        Raises:
            ValueError: A symbol is unknown; the message quotes the text of a list.
        """
        texts = [text] if isinstance(text, str) else list(text)
        vectors: dict[int, np.ndarray] = {}
        encoded = encode_each(texts, lambda each: self.prompt_ids(each, unknown))
        # Separately, because the carry before an empty text can differ.
        for empty in (False, True):
            rows = [row for row, (_, no) in enumerate(encoded) if no is empty]
            pairs = [(encoded[row][0], encoded[row][0]) for row in rows]
            for index, at, features in self._read_all(pairs, "features", empty):
                last = len(pairs[index][0]) - 1 - at
                if 0 <= last < len(features):
                    # A view would keep the features of the batch in memory.
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
        """Returns the texts whose vectors are most similar to that of a text.

        Args:
            text: str.
            texts: Sequence of str. The texts to compare with.
            count: int. Maximum number of texts to return. Defaults to `5`.
            unknown: str or `None`. As for `generate`.

        Returns:
            list of tuples `(text, cosine similarity)`, the most similar first. The
            similarity is between -1 and 1.

        Raises:
            ValueError: `texts` is empty, or a symbol is unknown; the message quotes
                the text.
        """
        if not texts:
            raise ValueError("texts is empty: give at least one text to compare with.")
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
        """Reads texts of any length in batches and chunks.

        Args:
            pairs: Sequence of two arrays of ids of equal length: the inputs, and the
                targets whose probabilities are looked up.
            what: str. `"scores"` for log probabilities, `"spread"` for those of all
                tokens, or `"features"`.
            empty: bool. Whether the texts are empty.

        Yields:
            The number of a text, a position in it, and the result from there on.
        """
        read = self.reader.compiled_read(what)
        # Texts of similar length share a batch, which keeps the padding short.
        order = sorted(range(len(pairs)), key=lambda row: -len(pairs[row][0]))
        order = [row for row in order if len(pairs[row][0])]
        for first in range(0, len(order), BATCH_SIZES[-1]):
            rows = order[first : first + BATCH_SIZES[-1]]
            number = padded_rows(len(rows))
            longest = len(pairs[rows[0]][0])
            most = min(self.reader.max_read_size, _MAX_LOGITS // len(self.vocabulary))
            most = max(1, most // number)
            size = 1 << max(longest - 1, 7).bit_length()
            size = _SPREAD_STEPS if what == "spread" else size
            # Powers of two: the compiled functions see few shapes.
            size = min(size, self.reader.max_read_steps, 1 << most.bit_length() - 1)
            carry = self.reader.initial(number, empty)
            for at in range(0, longest, size):
                fed = np.full((2, number, size), NO_SYMBOL, np.int32)
                for line, row in enumerate(rows):
                    for side, ids in zip(fed, pairs[row], strict=True):
                        piece = ids[at : at + size]
                        side[line, : len(piece)] = piece
                ids, wanted = fed
                # Some networks do not take -1.
                ids[ids == NO_SYMBOL] = self.reader.start_id
                result, carry = read(ids, carry, np.maximum(wanted, 0))
                result = ops.convert_to_numpy(result)
                for line, row in enumerate(rows):
                    count = min(size, len(pairs[row][0]) - at)
                    if count > 0:
                        yield row, at, result[line, :count]


class _Report:
    """Counts tokens, and tells how many are done.

    Args:
        progress: As for `Scorer.score`.
        total: int. Number of all tokens.
    """

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def __call__(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)


def padded_rows(count: int) -> int:
    """Returns the smallest of `BATCH_SIZES` that is at least `count`."""
    return next(number for number in BATCH_SIZES if number >= count)
