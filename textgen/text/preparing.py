"""`prepare`: streams a corpus of any size through a tokenizer into an array of ids."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from textgen.text import corpora
from textgen.text.byte_level import ByteTokenizer
from textgen.text.labels import LineLabels
from textgen.text.learning import (
    KnownTokenizer,
    Learner,
    SubwordLearner,
    VocabularyLearner,
)
from textgen.text.levels import LEVELS, check_limits
from textgen.text.normalization import check_form, normalized
from textgen.text.prepared import FORMAT, PreparedCorpus
from textgen.text.reading import CorpusReader
from textgen.text.spool import Spool
from textgen.text.tokenizer import Tokenizer
from textgen.text.tokenizers import KINDS, learn

# `prepare_or_reuse` keeps texts of at most so many bytes, in UTF-8, in memory.
IN_MEMORY = 1 << 26

REPLACEMENT = "\ufffd"  # the unknown symbol of a vocabulary of limited size

Progress = Callable[[int, int | None], None]


def prepare(
    source: Any,
    output: str | os.PathLike[str] | None = None,
    *,
    tokenizer: Tokenizer | None = None,
    level: str = "character",
    vocabulary_size: int | None = None,
    min_count: int = 1,
    unknown: str | None = None,
    lowercase: bool = False,
    normalization: str | None = None,
    encoding: str = "utf-8",
    replace: bool = False,
    newlines: bool = True,
    field: str | None = None,
    label_field: str | Sequence[str] | None = None,
    progress: Progress | None = None,
) -> PreparedCorpus:
    """Converts a corpus of any size to ids, with little memory.

    The text is read once, in pieces, and is never in memory as a whole. The ids are
    those of `Vocabulary.from_text(text, …).encode(text)`.

    Args:
        source: As for `textgen.load_corpus`. Or an iterator of str, such as a
            generator: each str is a text, and a newline is added between texts that
            have none.
        output: path or `None`. The file of the ids, for `PreparedCorpus.load`. While it
            is made, its disk needs space for twice its size. `None` keeps the ids in
            memory. Defaults to `None`.
        tokenizer: `Tokenizer` or `None`. `None` learns one from the text.
        level: `"character"`, `"word"`, `"byte"`, `"bpe"` or `"unigram"`. What the
            tokenizer is to be: a `Vocabulary`, a `ByteTokenizer`, or a
            `SubwordTokenizer`, which is learned from the first 16 million characters.
            Defaults to `"character"`.
        vocabulary_size: int or `None`. Keep only this number of symbols, the most
            frequent ones; or learn so many subwords. `None` keeps all symbols, and
            learns 8,000 subwords. Defaults to `None`.
        min_count: int. Keep only symbols that occur so many times. Defaults to `1`.
        unknown: str or `None`. What to do with a symbol that is not in the vocabulary:
            `"error"`, `"skip"`, or a symbol that replaces it. `None` is the policy of
            the tokenizer; for a new vocabulary of limited size, it is U+FFFD, the
            replacement character. Defaults to `None`.
        lowercase: bool. Whether to convert the text to lower case.
        normalization: `"nfc"`, `"nfkc"` or `None`. Unicode normalization form of the
            text. Defaults to `None`, which changes nothing.
        encoding: str. Encoding of the files. Defaults to `"utf-8"`.
        replace: bool. Whether bytes that are not valid in `encoding` become U+FFFD;
            `options["replaced"]` is then their number. Defaults to `False`: they are an
            error.
        newlines: bool. Whether `"\\r\\n"` and `"\\r"` become `"\\n"`. Defaults to
            `True`.
        field: str or `None`. Name of a field of CSV, TSV or JSON Lines files (`.csv`,
            `.tsv`, `.jsonl`, `.ndjson`, also compressed). The text then has a line for
            each record; line ends inside the field become spaces, and records without
            it are left out. A CSV file without names has numbers of columns, from 1.
            Defaults to `None`: the files are read as they are.
        label_field: str, sequence of str, or `None`. One or more fields whose values
            are the labels of the lines, such as their author; the attribute `labels` of
            the result has them. Defaults to `None`: no labels.
        progress: Function `(done, size)` that is called after each piece, with the
            number of bytes of the files that were read, and of all their bytes (`None`
            if it is not known).

    Returns:
        A `PreparedCorpus`.

    Raises:
        OSError: A file cannot be read or written. Nothing half-written is left.
        UnknownSymbolsError: Symbols are not in the vocabulary of `tokenizer`.
        ValueError: An argument is out of range, the text is empty, or as for
            `textgen.load_corpus`.

    Example:

    ```python
    corpus = textgen.prepare("log/*.gz", "log.ids", lowercase=True)
    train = textgen.SequenceDataset(corpus.ids)
    ```
    """
    options = _Options(
        level=level,
        vocabulary_size=vocabulary_size,
        min_count=min_count,
        unknown=unknown,
        lowercase=lowercase,
        normalization=normalization,
        encoding=encoding,
        replace=replace,
        newlines=newlines,
        field=field,
        label_field=label_field,
    )
    reader = options.reader(source)
    if output is None:
        with io.BytesIO() as file:
            return _collect(reader, options, tokenizer, file, progress).finish()
    path = Path(os.path.realpath(output))
    if path.is_dir():
        raise IsADirectoryError(f"{output} is a folder: give the name of a file.")
    with tempfile.TemporaryFile(dir=path.parent) as file:
        return _collect(reader, options, tokenizer, file, progress).finish(output)


def prepare_or_reuse(
    source: Any, progress: Progress | None = None, **options: Any
) -> PreparedCorpus:
    """Like `prepare`, but decides itself where the ids are.

    The ids of a text of more than 64 MB go into a file of the cache folder. If it is
    there already, and the files of the text have not changed, it is used.

    Args:
        source: As for `prepare`.
        progress: As for `prepare`.
        **options: Other arguments of `prepare`, without `tokenizer` and `output`.
    """
    chosen = _Options(**options)
    reader = chosen.reader(source)
    identity = reader.identity
    path = _place(chosen, identity)
    if identity is not None and path.is_file():
        with contextlib.suppress(ValueError):  # damaged: made again
            return PreparedCorpus.load(path)
    folder = None  # that of all temporary files
    if (reader.size or 0) > IN_MEMORY:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = str(path.parent)
    with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=folder) as file:
        collected = _collect(reader, chosen, None, file, progress)
        if collected.size <= IN_MEMORY:
            return collected.finish()
        if identity is None:  # such as standard input
            path = _place(chosen, collected.corpus.sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        return collected.finish(path)


def convert_or_reuse(corpus: PreparedCorpus, tokenizer: Tokenizer) -> PreparedCorpus:
    """Returns a corpus with the ids of another tokenizer that has all its symbols.

    If the ids are in a file, the new ones go into a file of the cache folder. If it is
    there already, it is used.

    Args:
        corpus: `PreparedCorpus`.
        tokenizer: As for `PreparedCorpus.with_tokenizer`.
    """
    if corpus.path is None:
        return corpus.with_tokenizer(tokenizer)
    configs = [each.get_config() for each in (corpus.tokenizer, tokenizer)]
    labels = None
    if corpus.labels is not None:
        digest = hashlib.sha256(corpus.labels.numbers.tobytes()).hexdigest()
        labels = [corpus.labels.names, digest]
    path = _cached([corpus.sha256, corpus.options, corpus.sources, configs, labels])
    if path.is_file():
        with contextlib.suppress(ValueError):  # damaged: made again
            return PreparedCorpus.load(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return corpus.with_tokenizer(tokenizer, path)


@dataclasses.dataclass(frozen=True)
class _Options:
    """How a text becomes ids: the arguments of `prepare`, checked."""

    level: str = "character"
    vocabulary_size: int | None = None
    min_count: int = 1
    unknown: str | None = None
    lowercase: bool = False
    normalization: str | None = None
    encoding: str = "utf-8"
    replace: bool = False
    newlines: bool = True
    field: str | None = None
    label_field: str | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.level not in KINDS:
            raise ValueError(f"level={self.level!r} must be one of {', '.join(KINDS)}.")
        check_limits(self.vocabulary_size, self.min_count)
        if self.min_count > 1 and self.level not in LEVELS:
            raise ValueError(
                f"min_count={self.min_count} needs characters or words, not "
                f"level={self.level!r}."
            )
        check_form(self.normalization)
        if self._limited and self.unknown == "error":
            raise ValueError(
                "unknown='error' must be 'skip' or a symbol, such as '\\ufffd': a "
                "vocabulary of limited size needs a replacement for all other symbols."
            )
        if self.label_field is not None and self.field is None:
            raise ValueError(
                f"label_field={self.label_field!r} has the labels of lines: field=… "
                "must name the field of their texts."
            )
        if self.label_field is not None and self.unknown == "skip":
            raise ValueError(
                "unknown='skip' with label_field: a line without known symbols would "
                "be lost, and its labels would not. Use a symbol, such as '\\ufffd'."
            )

    @property
    def _limited(self) -> bool:
        """Whether symbols of the text can be missing in the vocabulary."""
        limits = self.vocabulary_size is not None or self.min_count > 1
        return limits and self.level in LEVELS

    def reader(self, source: Any) -> CorpusReader:
        """Returns the reader of a corpus."""
        labels = self.label_field or ()
        return CorpusReader(
            source,
            self.encoding,
            self.replace,
            self.newlines,
            self.field,
            (labels,) if isinstance(labels, str) else labels,
        )

    def learner(self, tokenizer: Tokenizer | None) -> Learner:
        """Returns the learner of a known tokenizer, or of a new one."""
        if tokenizer is not None:
            return KnownTokenizer(tokenizer, self.unknown)
        form: Any = {
            "lowercase": bool(self.lowercase),
            "normalization": self.normalization,
        }
        if self.level == ByteTokenizer.level:
            return KnownTokenizer(learn(self.level, "", self.vocabulary_size, **form))
        if self.level not in LEVELS:
            return SubwordLearner(self.level, self.vocabulary_size, **form)
        unknown = self.unknown or (REPLACEMENT if self._limited else "error")
        return VocabularyLearner(
            self.level, self.vocabulary_size, self.min_count, unknown
        )


def _place(options: _Options, identity: Any) -> Path:
    """Returns the file in the cache folder for options and a corpus."""
    return _cached([dataclasses.astuple(options), identity])


def _cached(key: list) -> Path:
    """Returns the file in the cache folder for values that JSON can hold."""
    data = json.dumps([FORMAT, *key]).encode("ascii")
    name = hashlib.sha256(data).hexdigest()[:32]
    return corpora.cache_folder() / "prepared" / f"{name}.ids"


@dataclasses.dataclass(frozen=True)
class _Collected:
    """A corpus whose preliminary ids are known.

    Args:
        corpus: `PreparedCorpus` without ids.
        spool: `Spool`.
        table: int array. The id for each preliminary id; -1 leaves it out.
        size: int. Bytes of the text in UTF-8.
    """

    corpus: PreparedCorpus
    spool: Spool
    table: np.ndarray
    size: int

    def finish(self, path: str | os.PathLike[str] | None = None) -> PreparedCorpus:
        """Returns the corpus with its ids, in a file or in memory."""
        return self.corpus.with_ids(self._ids(), path)

    def _ids(self) -> Iterator[np.ndarray]:
        complete = self.table.min() >= 0
        # The smallest type is the fastest.
        dtype = np.min_scalar_type(self.table.max()) if complete else np.int64
        table = self.table.astype(dtype)
        for piece in self.spool:
            ids = table[piece]
            yield ids if complete else ids[ids >= 0]


def _collect(
    reader: CorpusReader,
    options: _Options,
    tokenizer: Tokenizer | None,
    file: IO[bytes],
    progress: Progress | None,
) -> _Collected:
    """Reads a corpus, and puts its preliminary ids into a temporary file."""
    learner, spool = options.learner(tokenizer), Spool(file)
    digest, size, characters = hashlib.sha256(), 0, 0

    def read() -> Iterator[str]:
        nonlocal size
        for piece in reader:
            data = piece.encode("utf-8", "surrogatepass")
            digest.update(data)
            size += len(data)
            yield piece
            if progress is not None:
                progress(reader.done, reader.size)

    counts = np.zeros(0, np.int64)
    for piece in normalized(read(), options.lowercase, options.normalization):
        characters += len(piece)
        counts = spool.append(learner.feed(piece), learner.size, counts)
    counts = spool.append(learner.flush(), learner.size, counts)
    tokenizer, table = learner.finish(counts)
    labels = None
    if reader.labels is not None:
        labels = LineLabels.from_numbers(*reader.labels.finish())
    corpus = PreparedCorpus(
        ids=np.zeros(0, np.uint8),
        tokenizer=tokenizer,
        characters=characters,
        sha256=digest.hexdigest(),
        counts=_mapped(counts, table, len(tokenizer)),
        sources=reader.files,
        options={**dataclasses.asdict(options), "replaced": reader.replaced},
        labels=labels,
    )
    return _Collected(corpus, spool, table, size)


def _mapped(counts: np.ndarray, table: np.ndarray, size: int) -> np.ndarray:
    """Returns the counts of `size` ids from those of the preliminary ids."""
    kept = table >= 0
    result = np.zeros(size, np.int64)
    np.add.at(result, table[kept], counts[: len(table)][kept])
    return result
