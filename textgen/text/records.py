"""One field of each record of a CSV, TSV or JSON Lines file, as lines of a text."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath

from textgen.messages import printable

_COMPRESSED = (".gz", ".bz2", ".xz", ".zip")

_MAX_FIELD = 1 << 26  # characters; the default of `csv` is 131,072

_PIECE = 1 << 16  # characters that are yielded together, at least


def lines_of(pieces: Iterable[str], field: str, source: str) -> Iterator[str]:
    """Yields a text with one line for each record that has a field.

    A line end inside the field becomes a space. Records in which the field is missing
    or empty are left out.

    Args:
        pieces: Iterable of str. The content of a file.
        field: str. Name of a field: a column of the first line, or a key of the JSON
            objects. In a CSV or TSV file without such names, the number of a column,
            counted from 1.
        source: str. Name of the file. Its suffix says what it is: `.csv`, `.tsv`,
            `.jsonl` or `.ndjson`, also before that of a compressed file.

    Yields:
        str: some lines, each with its end.

    Raises:
        ValueError: The file is no such file, has no such field, or is not valid. The
            message names the line.
    """
    suffixes = [suffix.lower() for suffix in PurePath(source).suffixes]
    suffixes = [suffix for suffix in suffixes if suffix not in _COMPRESSED]
    read = _READERS.get(suffixes[-1] if suffixes else "")
    if read is None:
        raise ValueError(
            f"field={field!r} needs a file whose name ends in {', '.join(_READERS)}; "
            f"{source} has another name."
        )
    held: list[str] = []
    size = 0
    for text in read(_lines(pieces), field, source):
        line = " ".join(text.splitlines())
        if line:
            held.append(f"{line}\n")
            size += len(line)
        if size > _PIECE:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)


def _lines(pieces: Iterable[str]) -> Iterator[str]:
    """Yields the lines of a text, with their ends."""
    held: list[str] = []
    for piece in pieces:
        *complete, rest = piece.split("\n")
        for line in complete:
            held.append(line)
            yield "".join(held) + "\n"
            held.clear()
        held.append(rest)
    if any(held):
        yield "".join(held)


def _read_csv(lines: Iterator[str], field: str, source: str) -> Iterator[str]:
    return _read_columns(lines, field, source, ",")


def _read_tsv(lines: Iterator[str], field: str, source: str) -> Iterator[str]:
    return _read_columns(lines, field, source, "\t")


def _read_columns(
    lines: Iterator[str], field: str, source: str, delimiter: str
) -> Iterator[str]:
    csv.field_size_limit(_MAX_FIELD)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        first = next(rows, [])
        if field in first:
            column = first.index(field)
        elif field.isdecimal() and 1 <= int(field) <= len(first):
            column = int(field) - 1
            yield first[column]
        else:
            raise ValueError(
                f"{source} has no column {field!r}. Its first line has "
                f"{printable(', '.join(first), 200)}."
            )
        for row in rows:
            if column < len(row):
                yield row[column]
    except csv.Error as error:
        raise ValueError(
            f"{source} is not valid CSV: line {rows.line_num}: {printable(error)}."
        ) from None


def _read_json(lines: Iterator[str], field: str, source: str) -> Iterator[str]:
    found = False
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f"{source} is not valid JSON Lines: line {number}: "
                f"{printable(error, 160)}."
            ) from None
        value = record.get(field) if isinstance(record, dict) else record
        if value is None:
            continue
        if not isinstance(value, str):
            raise ValueError(
                f"{source}: line {number} has no text as {field!r}: "
                f"{printable(json.dumps(value), 60)}."
            )
        found = True
        yield value
    if not found:
        raise ValueError(f"{source} has no record with a field {field!r}.")


_READERS: dict[str, Callable[[Iterator[str], str, str], Iterator[str]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json,
    ".ndjson": _read_json,
}
