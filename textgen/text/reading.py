"""Reads a corpus: a whole one as a str, or a large one piece by piece."""

import contextlib
import dataclasses
import errno
import functools
import itertools
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from textgen import files
from textgen.messages import printable
from textgen.text import archive, corpora, encodings, records, sources
from textgen.text.labels import LabelCollector

_NO_TEXT = "no text file. Hidden files and binary files do not count."


def load_corpus(
    name_or_path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    lowercase: bool = False,
    encoding: str = "utf-8",
) -> str:
    """Returns a corpus as one string.

    The text of a file equals `open(path, encoding=encoding).read()`: `"\\r\\n"` and
    `"\\r"` become `"\\n"`. A byte order mark at the start is removed. Files of gzip,
    bzip2 and xz, and zip files, are unpacked in memory.

    Several texts are joined in their order. If one does not end with a newline, a
    newline is added before the next one. Empty ones add nothing.

    A name of `textgen.CORPORA` is searched in this order: a file with this path, the
    folder `TEXTGEN_DATA`, the package, the cache folder (`TEXTGEN_CACHE`, or `textgen`
    in `XDG_CACHE_HOME`, or `~/.cache/textgen`). If the corpus is in none of them, it is
    downloaded into the cache folder. The registered SHA-256 is checked, except for a
    file with this path. For a folder of this name, give `"./NAME"`.

    Args:
        name_or_path: str, path, or a list or tuple of them. Each is one of these:

            - A name of `textgen.CORPORA`.
            - The path of a text file, also a compressed one (`.gz`, `.bz2`, `.xz`).
            - The path of a folder: all its text files and those of its subfolders, in
              the order of `sorted(paths)`. Hidden files and folders are left out.
              Binary files are left out with a warning.
            - The path of a zip file (`.zip`): all its text files, as of a folder. In
              it, compressed files are binary files.
            - A pattern of `glob`, such as `"poems/*.txt"` or `"poems/**/*.txt"`: all
              files that fit, in the order of `sorted(paths)`. A file that exists with
              this very name comes first.
            - `"-"` for standard input, alone.
        lowercase: bool. Whether to convert the text to lower case. Defaults to
            `False`.
        encoding: str. Encoding of the files. Defaults to `"utf-8"`.

    Returns:
        str. The text, not empty.

    Raises:
        FileNotFoundError: A file or name does not exist (the message suggests similar
            names), a folder has no text file, no file fits a pattern, or textgen is
            not installed.
        OSError: A file cannot be read or downloaded, or a path is that of a device or
            a named pipe. A download is given up after 300 seconds, or when it is
            longer than the registered text can be.
        TypeError: `name_or_path` is none of the above.
        ValueError: The text is empty, the SHA-256 of a file is not the registered one,
            or a file has bytes that are not valid in `encoding` (the message gives the
            byte offset, and names an encoding that may be right). Or a compressed file
            is damaged, or unpacks to more than 64 MB and more than 50 times its size.
            Or a zip file has no text file, or one that is encrypted. The message names
            the file.

    Example:

    ```python
    names = textgen.load_corpus("dinosaurs", lowercase=True).split()
    ```
    """
    text = "".join(CorpusReader(sources.names_of(name_or_path), encoding))
    return text.lower() if lowercase else text


class CorpusReader:
    """A corpus of any size, piece by piece. It can be read once.

    Args:
        source: As for `load_corpus`. Or an iterator of str, such as a generator: each
            str is a text, and a newline is added between texts that have none.
        encoding: str. Encoding of the files. Defaults to `"utf-8"`.
        replace: bool. Whether bytes that are not valid in `encoding` become U+FFFD.
            Defaults to `False`: they are an error.
        newlines: bool. Whether `"\r\n"` and `"\\r"` become `"\\n"`. Defaults to
            `True`.
        field: str or `None`. Name of a field of CSV, TSV or JSON Lines files, whose
            texts become the lines of the corpus; see `records.lines_of`. Defaults to
            `None`: the files are read as they are.
        label_fields: Sequence of str. The fields of the labels of these lines. Defaults
            to none.

    Attributes:
        size: int or `None`. Bytes of all files, compressed as they are; `None` if it is
            not known.
        replaced: int. How many times U+FFFD stands for invalid bytes so far.
        labels: `LabelCollector` or `None`. The labels of the lines so far.

    Raises:
        FileNotFoundError, OSError, TypeError, ValueError: As for `load_corpus`, some of
            them only while it is read.
    """

    def __init__(
        self,
        source: object,
        encoding: str = "utf-8",
        replace: bool = False,
        newlines: bool = True,
        field: str | None = None,
        label_fields: Sequence[str] = (),
    ) -> None:
        self._encoding, self._replace = encoding, replace
        self._newlines, self._field = newlines, field
        self._label_fields = label_fields
        self.labels = LabelCollector() if label_fields else None
        self._done = 0
        self._file: archive.Counted | None = None
        self.replaced = 0
        self._texts = source if isinstance(source, Iterator) else None
        self._names = [] if self._texts else sources.names_of(source)
        self._places = [place for name in self._names for place in _places(name)]
        self.size: int | None = None
        if self._texts is None and all(place.is_file for place in self._places):
            self.size = sum(place.status.st_size for place in self._places)

    @property
    def done(self) -> int:
        """Bytes of the files that were read so far."""
        return self._done + (0 if self._file is None else self._file.done)

    @property
    def files(self) -> list[dict[str, Any]]:
        """`name` and `bytes` of each file."""
        return [
            {"name": place.path.name, "bytes": place.status.st_size}
            for place in self._places
            if place.is_file
        ]

    @property
    def identity(self) -> list[tuple] | None:
        """Path, size and time of each file; `None` if the corpus has other sources."""
        if self.size is None:
            return None
        return [place.identity for place in self._places]

    def __iter__(self) -> Iterator[str]:
        """Yields the text in pieces, not empty.

        Raises:
            ValueError: At the end, if there was none.
        """
        empty = True
        texts = self._of_files() if self._texts is None else self._of_iterator()
        for piece in sources.joined(texts):
            empty = False
            yield piece
        if empty:
            name = sources.shortened(self._names) or "The iterator"
            if name == sources.STANDARD_INPUT:
                name = "standard input"
            raise ValueError(
                f"{name} {'are' if self._names[1:] else 'is'} empty: a corpus needs at "
                "least one character."
            )

    def _of_iterator(self) -> Iterator[Iterable[str]]:
        for text in self._texts or ():
            if not isinstance(text, str):
                raise TypeError(f"The iterator gave {text!r}, which is no str.")
            yield [text]

    def _of_files(self) -> Iterator[Iterable[str]]:
        """Yields the pieces of each text, which must be read before the next text."""
        binary: dict[Path, list[str]] = {}  # the names in each folder and zip file
        read: set[Path | None] = set()  # the folders and zip files of the texts
        for place in self._places:
            with place.open() as opened:
                self._file = archive.Counted(opened)
                yield from self._of_file(self._file, place, binary, read)
                self._done += self._file.size or self._file.done
                self._file = None
        for whole, names in binary.items():
            if whole not in read:
                raise _no_text(whole)
            warnings.warn(
                f"{whole}: {len(names)} binary file{'s' if names[1:] else ''} left "
                f"out: {printable(sources.shortened(names))}.",
                stacklevel=5,  # the caller of `load_corpus`
            )

    def _of_file(
        self,
        file: archive.Counted,
        place: "_Place",
        binary: dict[Path, list[str]],
        read: set[Path | None],
    ) -> Iterator[Iterable[str]]:
        """Yields the pieces of each text of a file.

        `binary` gets the names that are left out; `read` gets the zip file and the
        folder, if they have a text.
        """
        texts = archive.texts(file, place.name)
        many = len(texts) != 1  # a zip file of one text is like this text
        whole = place.path if many else place.folder
        for text in texts:
            blocks = text.blocks()
            first = next(blocks, b"")
            if whole and encodings.is_binary(first, self._encoding):
                name = text.member if many and text.member else place.in_folder
                binary.setdefault(whole, []).append(name)
                continue
            read.update((whole, place.folder))
            blocks = itertools.chain([first] if first else [], blocks)
            yield self._decoded(blocks, text, place.name)
        if many and place.path not in read:
            if place.folder is None:
                raise ValueError(f"{place.name} has {_NO_TEXT}")
            binary.pop(place.path, None)
            binary.setdefault(place.folder, []).append(place.in_folder)

    def _decoded(
        self, blocks: Iterator[bytes], text: archive.Text, name: str
    ) -> Iterator[str]:
        decoding = encodings.Decoding(
            self._encoding, text.source, self._replace, self._newlines
        )
        pieces = decoding.pieces(blocks)
        if self._field is not None:
            pieces = records.lines_of(
                *(pieces, self._field, text.source, self._label_fields, self.labels),
                names=[name, text.member or name],
            )
        yield from pieces
        self.replaced += decoding.replaced


@dataclasses.dataclass(frozen=True)
class _Place:
    """A file of a corpus.

    Args:
        path: Path. `"-"` is standard input.
        folder: Path or `None`. The folder that was given, if it was a folder.
    """

    path: Path
    folder: Path | None = None

    @property
    def is_file(self) -> bool:
        return str(self.path) != sources.STANDARD_INPUT

    @property
    def name(self) -> str:
        return str(self.path) if self.is_file else "standard input"

    @property
    def in_folder(self) -> str:
        """The path in the folder that was given, if it was a folder."""
        return str(self.path.relative_to(self.folder or ""))

    @functools.cached_property
    def status(self) -> os.stat_result:
        """Size and time of the file, before it is read."""
        return self.path.stat()

    @property
    def identity(self) -> tuple[str, int, int]:
        status = self.status
        return str(self.path.resolve()), status.st_size, status.st_mtime_ns

    def open(self) -> contextlib.AbstractContextManager[BinaryIO]:
        """Opens the file, or standard input, which stays open."""
        if not self.is_file:
            return contextlib.nullcontext(sys.stdin.buffer)
        try:
            return files.open_regular(self.path)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise OSError(
                f"{error} To read a corpus from a pipe, give - as name."
            ) from None


def _places(name: str) -> list[_Place]:
    """Returns the files that a name stands for."""
    path = Path(os.path.expanduser(name))
    if name in corpora.CORPORA or name == sources.STANDARD_INPUT:
        paths = [path if name == sources.STANDARD_INPUT else corpora.find(name)]
    elif name and path.is_dir():
        paths = sources.files_of_folder(path)
        if not paths:
            raise _no_text(path)
        return [_Place(each, path) for each in paths]
    elif sources.is_pattern(name) and not path.exists():
        paths = sources.files_of_pattern(str(path))
        if not paths:
            raise FileNotFoundError(
                f"{name!r} is no existing file, and as a pattern, it fits no file."
            )
    else:
        paths = [corpora.find(name)]
    return [_Place(each) for each in paths]


def _no_text(folder: Path) -> FileNotFoundError:
    return FileNotFoundError(f"The folder {folder} has {_NO_TEXT}")
