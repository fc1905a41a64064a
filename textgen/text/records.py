"""One field of each record of a CSV, TSV or JSON Lines file, as lines of a text."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

from textgen.messages import printable
from textgen.text.labels import LabelCollector

_COMPRESSED = (".gz", ".bz2", ".xz", ".zip")

_MAX_FIELD = 1 << 26  # characters; the default of `csv` is 131,072

_PIECE = 1 << 16  # characters that are yielded together, at least

_Record = tuple[str, list[str]]  # a text and its labels

_Reader = Callable[[Iterator[str], Sequence[str], str], Iterator[_Record]]


def lines_of(
    pieces: Iterable[str],
    field: str,
    source: str,
    label_fields: Sequence[str] = (),
    labels: LabelCollector | None = None,
    names: Sequence[str] = (),
) -> Iterator[str]:
    """Yields a text with one line for each record that has a field.

    A line end inside the field becomes a space. Records in which the field is missing
    or empty are left out.

    Args:
        pieces: Iterable of str. The content of a file.
        field: str. Name of a field: a column of the first line, or a key of the JSON
            objects. In a CSV or TSV file without such names, the number of a column,
            counted from 1.
        source: str. Name of the file, for messages.
        label_fields: Sequence of str. Fields whose values are the labels of the line: a
            text, in JSON also an integer or a list of texts. Defaults to none.
        labels: `LabelCollector` or `None`. It gets the labels of each line, before the
            line is yielded.
        names: Sequence of str. Names of the file. The suffix of the first name that has
            one says what the file is: `.csv`, `.tsv`, `.jsonl` or `.ndjson`, also
            before that of a compressed file. Defaults to `source`.

    Yields:
        str: some lines, each with its end.

    Raises:
        ValueError: The file is no such file, has no such field, or is not valid. The
            message names the line.
    """
    read = next(filter(None, map(_reader_of, names or [source])), None)
    if read is None:
        raise ValueError(
            f"field={field!r} needs a file whose name ends in {', '.join(_READERS)}; "
            f"{source} has another name."
        )
    held: list[str] = []
    size = 0
    for text, found in read(_lines(pieces), (field, *label_fields), source):
        line = " ".join(text.splitlines())
        if line:
            if labels is not None:
                labels.append(found)
            held.append(f"{line}\n")
            size += len(line)
        if size > _PIECE:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)


def _reader_of(name: str) -> _Reader | None:
    """Returns the function that reads files with the suffix of a name."""
    suffixes = [suffix.lower() for suffix in PurePath(name).suffixes]
    suffixes = [suffix for suffix in suffixes if suffix not in _COMPRESSED]
    return _READERS.get(suffixes[-1] if suffixes else "")


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


def _read_csv(
    lines: Iterator[str], fields: Sequence[str], source: str
) -> Iterator[_Record]:
    return _read_columns(lines, fields, source, ",")


def _read_tsv(
    lines: Iterator[str], fields: Sequence[str], source: str
) -> Iterator[_Record]:
    return _read_columns(lines, fields, source, "\t")


def _read_columns(
    lines: Iterator[str], fields: Sequence[str], source: str, delimiter: str
) -> Iterator[_Record]:
    csv.field_size_limit(_MAX_FIELD)
    rows = csv.reader(lines, delimiter=delimiter, strict=True)

    def record(row: list[str]) -> _Record:
        text, *labels = (row[at] if at < len(row) else "" for at in columns)
        return text, labels

    try:
        first = next(rows, [])
        columns = [_column(first, field, source) for field in fields]
        if fields[0] not in first:  # a file without names
            yield record(first)
        for row in rows:
            yield record(row)
    except csv.Error as error:
        raise ValueError(
            f"{source} is not valid CSV: line {rows.line_num}: {printable(error)}."
        ) from None


def _column(first: list[str], field: str, source: str) -> int:
    """Returns the index of a column, given its name or its number."""
    if field in first:
        return first.index(field)
    if field.isdecimal() and 1 <= int(field) <= len(first):
        return int(field) - 1
    raise ValueError(
        f"{source} has no column {field!r}. Its first line has "
        f"{printable(', '.join(first), 200)}."
    )


def _read_json(
    lines: Iterator[str], fields: Sequence[str], source: str
) -> Iterator[_Record]:
    field, *others = fields
    missing = set(fields)
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
        missing.discard(field)
        labels: list[str] = []
        for other in others:
            if isinstance(record, dict) and other in record:
                missing.discard(other)
                labels += _labels_of(record[other], f"{source}: line {number}", other)
        yield value, labels
    for name in fields:
        if name in missing:
            raise ValueError(f"{source} has no record with a field {name!r}.")


def _labels_of(value: Any, where: str, field: str) -> list[str]:
    """Returns the labels in a field of a JSON object."""
    values = value if isinstance(value, list) else [value]
    for each in values:
        if each is not None and type(each) not in (str, int):
            raise ValueError(
                f"{where} has no label as {field!r}: "
                f"{printable(json.dumps(value), 60)}."
            )
    return [str(each) for each in values if each is not None]


_READERS: dict[str, _Reader] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".jsonl": _read_json,
    ".ndjson": _read_json,
}
