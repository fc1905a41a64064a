"""Corpora as arrays of ids, in memory or in a file that is mapped into memory.

Layout of a file: `_MAGIC` in 16 bytes, the length of the header in 8 bytes, the header
(JSON in ASCII, padded with spaces), at a multiple of 64 bytes the ids, and after them
the numbers of the labels, if there are any. Numbers are little endian.
"""

import dataclasses
import json
import os
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from textgen import files
from textgen.messages import printable
from textgen.text.labels import LineLabels
from textgen.text.levels import quoted
from textgen.text.tokenizer import Tokenizer
from textgen.text.tokenizers import from_config

# A new number also when the ids of a text change: then no file of the cache is used.
FORMAT = "textgen ids 1"

_MAGIC = FORMAT.encode() + b"\n\0\0"

_ALIGNMENT = 64  # bytes

_MAX_HEADER = 1 << 30  # bytes; a vocabulary of 16 million symbols has less

_CHUNK = 1 << 20  # ids that are checked or converted at a time

_FIELDS = {
    "tokens": int,
    "dtype": str,
    "characters": int,
    "sha256": str,
    "tokenizer": dict,
    "counts": list,
    "sources": list,
    "options": dict,
}

_LABEL_FIELDS = {"labels": list, "labels_shape": list}  # if there are labels

_LABELS = np.dtype("<i4")  # the numbers of labels


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PreparedCorpus:
    """The ids of a corpus, and what is known about it. See `textgen.prepare`.

    Attributes:
        ids: array of the smallest unsigned integer type, of shape `(tokens,)`; that of
            a file is mapped into memory.
        tokenizer: `Tokenizer`. Converts ids to text.
        characters: int. Length of the text.
        sha256: str. SHA-256 of the text in UTF-8, before it was put in lower case or
            normalized; in hexadecimal.
        counts: int64 array of shape `(vocabulary,)`. How often each token occurs.
        sources: list of dict. `name` and `bytes` of each file.
        options: dict. How the text was read: `encoding`, `lowercase`, `normalization`,
            and others.
        path: Path or `None`. The file.
        labels: `LineLabels` or `None`. The labels of the lines.

    Example:

    ```python
    corpus = textgen.prepare("log/*.gz", "log.ids")
    train, validation = textgen.split(corpus.ids, 0.1)
    train = textgen.SequenceDataset(train, sampling="consecutive")
    model = textgen.LanguageModel(corpus.tokenizer, return_sequences=True)
    ```
    """

    ids: np.ndarray
    tokenizer: Tokenizer
    characters: int
    sha256: str
    counts: np.ndarray
    sources: list[dict[str, Any]]
    options: dict[str, Any]
    path: Path | None = None
    labels: LineLabels | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the labels of the lines; empty if there are none."""
        return () if self.labels is None else self.labels.names

    def __repr__(self) -> str:
        place = "in memory" if self.path is None else str(self.path)
        return (
            f"PreparedCorpus({self.characters:,} characters, {len(self):,} tokens of "
            f"{len(self.tokenizer):,}, {place})"
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the corpus to a file.

        Raises:
            OSError: The file cannot be written; an old one is unchanged.
        """
        with files.replacing(path) as file:
            self.write(file, self.ids.dtype, iter([self.ids]))

    def write(self, file: BinaryIO, dtype: np.dtype, ids: Iterator[np.ndarray]) -> None:
        """Writes the corpus to an open file, with ids that come in pieces.

        Args:
            file: Binary file, at its start.
            dtype: np.dtype of the ids.
            ids: Iterator of integer arrays. They are as many as the counts say.
        """
        header = {
            "tokens": int(self.counts.sum()),
            "dtype": dtype.name,
            "characters": self.characters,
            "sha256": self.sha256,
            "tokenizer": self.tokenizer.get_config(),
            "counts": self.counts.tolist(),
            "sources": self.sources,
            "options": self.options,
        }
        if self.labels is not None:
            header["labels"] = list(self.labels.names)
            header["labels_shape"] = self.labels.numbers.shape
        data = json.dumps(header).encode("ascii")
        start = len(_MAGIC) + 8
        data += b" " * (-(start + len(data)) % _ALIGNMENT)
        file.write(_MAGIC + struct.pack("<Q", len(data)) + data)
        for piece in ids:
            file.write(np.ascontiguousarray(piece, dtype.newbyteorder("<")).data)
        if self.labels is not None:
            file.write(np.ascontiguousarray(self.labels.numbers, _LABELS).data)

    def with_ids(
        self, pieces: Iterable[np.ndarray], path: str | os.PathLike[str] | None = None
    ) -> "PreparedCorpus":
        """Returns the corpus with other ids, which come in pieces.

        Args:
            pieces: Iterable of integer arrays. They are as many as the counts say.
            path: path or `None`. The file of the ids; it is complete or not written at
                all. `None` keeps them in memory. Defaults to `None`.

        Raises:
            OSError: The file cannot be written; an old one is unchanged.
        """
        dtype = np.dtype(np.min_scalar_type(len(self.tokenizer) - 1))
        if path is not None:
            with files.replacing(path) as file:
                self.write(file, dtype, iter(pieces))
            return PreparedCorpus.load(path)
        ids, at = np.empty(int(self.counts.sum()), dtype), 0
        for piece in pieces:
            ids[at : at + len(piece)] = piece
            at += len(piece)
        return dataclasses.replace(self, ids=ids, path=None)

    def with_tokenizer(
        self, tokenizer: Tokenizer, path: str | os.PathLike[str] | None = None
    ) -> "PreparedCorpus":
        """Returns the corpus with the ids that its symbols have in another tokenizer.

        The ids are converted in pieces, so that those of a file are never in memory as
        a whole.

        Args:
            tokenizer: `Tokenizer` of the same level that has all symbols of that of the
                corpus, such as `corpus.tokenizer.extended("xyz")`.
            path: path or `None`. The file of the new ids. `None` keeps them in memory.
                Defaults to `None`.

        Raises:
            OSError: The file cannot be written; an old one is unchanged.
            ValueError: The tokenizer has another level, or lacks a symbol.
        """
        symbols = self.tokenizer.symbols
        if tokenizer.level != self.tokenizer.level:
            raise ValueError(
                f"tokenizer has the level {tokenizer.level!r}, and the corpus "
                f"{self.tokenizer.level!r}: prepare the text again with this tokenizer."
            )
        missing = next((each for each in symbols if each not in tokenizer), None)
        if missing is not None:
            raise ValueError(
                f"tokenizer lacks the symbol {quoted(missing)} of the corpus: give one "
                "that has all its symbols, such as corpus.tokenizer.extended(symbols)."
            )
        table = np.array([tokenizer.ids[symbol] for symbol in symbols])
        counts = np.zeros(len(tokenizer), np.int64)
        counts[table] = self.counts
        corpus = dataclasses.replace(self, tokenizer=tokenizer, counts=counts)
        table = table.astype(np.min_scalar_type(len(tokenizer) - 1))
        starts = range(0, len(self), _CHUNK)
        pieces = (table[self.ids[at : at + _CHUNK]] for at in starts)
        return corpus.with_ids(pieces, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "PreparedCorpus":
        """Opens a file of `textgen.prepare`. The ids are mapped into memory.

        Raises:
            OSError: The file cannot be opened.
            ValueError: The file is damaged, or is another one. The message names it.
        """
        path = Path(path)
        with files.open_regular(path) as file:
            try:
                return _load(file, path)
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise ValueError(
                    f"{path} is not a valid file of prepared ids: "
                    f"{printable(error, 160)} Prepare the corpus again."
                ) from None


def is_prepared(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins as those of `PreparedCorpus.save` do."""
    try:
        with files.open_regular(Path(path)) as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _load(file: BinaryIO, path: Path) -> PreparedCorpus:
    size = os.fstat(file.fileno()).st_size
    start = file.read(len(_MAGIC) + 8)
    if not start.startswith(_MAGIC) or len(start) < len(_MAGIC) + 8:
        raise ValueError("it begins with other bytes.")
    (length,) = struct.unpack("<Q", start[len(_MAGIC) :])
    if length > min(_MAX_HEADER, size):
        raise ValueError("it is cut short.")
    header = json.loads(file.read(length).decode("ascii"))
    types = {}
    if type(header) is dict:
        types = {name: type(value) for name, value in header.items()}
    if types not in (_FIELDS, _FIELDS | _LABEL_FIELDS):
        raise ValueError("its header has other fields.")
    dtype = np.dtype(header["dtype"])
    if dtype.kind != "u" or dtype.itemsize > 4:
        raise ValueError(f"its ids are {dtype.name}.")
    offset, tokens = len(start) + length, header["tokens"]
    end = offset + tokens * dtype.itemsize
    shape = header.get("labels_shape", [0, 0])
    if not all(type(each) is int and each >= 0 for each in shape) or len(shape) != 2:
        raise ValueError(f"the shape of its labels is {shape}.")
    if tokens < 1 or size != end + shape[0] * shape[1] * _LABELS.itemsize:
        raise ValueError("it is cut short, or longer than its header says.")
    tokenizer = from_config(header["tokenizer"])
    counts = np.array(header["counts"], np.int64)
    if counts.shape != (len(tokenizer),) or counts.sum() != tokens:
        raise ValueError("its counts do not fit.")
    ids = np.memmap(file, dtype.newbyteorder("<"), "r", offset, tokens)
    labels = None
    if "labels" in header:
        file.seek(end)
        numbers = np.frombuffer(file.read(size - end), _LABELS).reshape(shape)
        labels = LineLabels.from_numbers(header["labels"], numbers.astype(np.int32))
    corpus = PreparedCorpus(
        ids.view(np.ndarray),
        tokenizer,
        header["characters"],
        header["sha256"],
        counts,
        header["sources"],
        header["options"],
        path,
        labels,
    )
    _check_ids(corpus)
    return corpus


def _check_ids(corpus: PreparedCorpus) -> None:
    """Raises ValueError if an id is not in the vocabulary."""
    size = len(corpus.tokenizer)
    if size > np.iinfo(corpus.ids.dtype).max:
        return
    for at in range(0, len(corpus), _CHUNK):
        if corpus.ids[at : at + _CHUNK].max() >= size:
            raise ValueError(f"an id is not in its vocabulary of {size}.")
