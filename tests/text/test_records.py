"""Fields of CSV, TSV and JSON Lines files."""

import csv
import gzip
import io
import itertools
import json
import random

import pytest

import textgen
from textgen.text import records

TEXTS = [
    "one",
    'two "quoted", and\na second line',
    "",
    "naïve\r\n\u2028詩",
    "a\tb ",
    "1",
]
LINES = 'one\ntwo "quoted", and a second line\nnaïve  詩\na\tb \n1\n'


def as_csv(delimiter, header=True):
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    if header:
        writer.writerow(["id", "text", "label"])
    for number, text in enumerate(TEXTS):
        writer.writerow([number, text, "x"])
    return file.getvalue()


def as_json():
    rows = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]
    rows += [{"id": 1}, {"text": None}]
    return "\n\n".join(json.dumps(row) for row in rows)


FILES = {
    "a.csv": (as_csv(","), "text"),
    "a.CSV": (as_csv(",", header=False), "2"),
    "a.tsv": (as_csv("\t"), "text"),
    "a.tsv.txt.tsv": (as_csv("\t"), "2"),
    "a.jsonl": (as_json(), "text"),
    "a.ndjson": (as_json(), "text"),
}


@pytest.mark.parametrize("name", FILES)
def test_field_of_each_record(name):
    text, field = FILES[name]
    lines = LINES if field != "2" or name == "a.CSV" else "text\n" + LINES
    source = random.Random(0)
    for many in range(6):
        cuts = sorted({0, len(text), *source.choices(range(len(text)), k=many)})
        pieces = [text[a:b] for a, b in itertools.pairwise(cuts)]
        assert "".join(records.lines_of(pieces, field, name)) == lines


def test_many_records():
    text = "".join(json.dumps({"t": str(number)}) + "\n" for number in range(50_000))
    pieces = list(records.lines_of([text], "t", "a.jsonl"))
    assert "".join(pieces) == "".join(f"{number}\n" for number in range(50_000))
    assert 2 < len(pieces) < 10


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "text\n", r"needs a file whose name ends in \.csv, .*a\.txt has"),
        ("a", "text\n", "needs a file"),
        (
            "a.csv",
            "id,label\n1,2\n",
            "has no column 'text'. Its first line has id, label",
        ),
        ("a.csv", "", "has no column 'text'"),
        ("a.csv", 'text\n"open', r"a\.csv is not valid CSV: line 2"),
        ("a.jsonl", '{"text": 1}', "line 1 has no text as 'text': 1"),
        ("a.jsonl", '{"text": "a"}\n{', "is not valid JSON Lines: line 2: Expecting"),
        ("a.jsonl", "[1]", r"line 1 has no text as 'text': \[1\]"),
        ("a.jsonl", '{"other": "a"}', "has no record with a field 'text'"),
        ("a.jsonl", "[" * 100_000, "is not valid JSON Lines: line 1"),
    ],
)
def test_errors(name, text, message):
    with pytest.raises(ValueError, match=message):
        list(records.lines_of([text], "text", name))


def test_prepare_takes_a_field(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(as_json().encode()))
    (tmp_path / "b.csv").write_text("n,text\n1,last\n")
    files = [tmp_path / "a.jsonl.gz", tmp_path / "b.csv"]
    corpus = textgen.prepare(files, field="text")
    assert corpus.tokenizer.decode(corpus.ids) == f"{LINES}last\n"
    assert corpus.options["field"] == "text"
    with pytest.raises(ValueError, match=r"b\.csv has no column 'x'"):
        textgen.prepare(tmp_path / "b.csv", field="x")
