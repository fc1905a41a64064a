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
from textgen.text.labels import LabelCollector, LineLabels
from textgen.text.records import lines_of

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


def labelled(pieces, source, *label_fields):
    """Returns the text of records, and the labels of each of its lines."""
    collector = LabelCollector()
    text = "".join(lines_of(pieces, "text", source, label_fields, collector))
    labels = LineLabels.from_numbers(*collector.finish())
    rows = [
        [labels.names[number] for number in row if number >= 0]
        for row in labels.numbers.tolist()
    ]
    return text, rows


@pytest.mark.parametrize("cut", [1, 5, 1000])
def test_labels_of_csv(cut):
    content = (
        'author,text,genre\nPoe,"The\nraven",ode\nKeats,,ode\n,Lamia\n Poe ,"a, b",'
        '"tale, ode"\n'
    )
    pieces = [content[at : at + cut] for at in range(0, len(content), cut)]
    text, rows = labelled(pieces, "a.csv", "genre", "author")
    assert text == "The raven\nLamia\na, b\n"
    assert rows == [["Poe", "ode"], [], ["Poe", "tale, ode"]]


def test_labels_of_columns_without_names():
    collector = LabelCollector()
    lines = lines_of(["x\tpoe\ny\tkeats\n"], "1", "a.tsv", ["2"], collector)
    assert "".join(lines) == "x\ny\n"
    assert collector.finish()[0] == ("keats", "poe")


def test_labels_of_json():
    records = [
        {"text": "a", "tags": ["poe", "ode", None], "year": 1845},
        {"text": "", "tags": ["lost"]},
        {"text": "b", "tags": "poe"},
        {"text": "c", "tags": None},
        {"tags": ["lost"]},
    ]
    pieces = [json.dumps(each) + "\n" for each in records]
    text, rows = labelled(pieces, "a.jsonl", "tags", "year")
    assert text == "a\nb\nc\n"
    assert rows == [["1845", "ode", "poe"], ["poe"], []]


@pytest.mark.parametrize("value", [1.5, True, {"a": 1}, [["poe"]]])
def test_other_labels_of_json(value):
    line = json.dumps({"text": "a", "tags": value})
    with pytest.raises(ValueError, match=r"a\.jsonl: line 1 has no label as 'tags'"):
        labelled([line], "a.jsonl", "tags")


def test_fields_of_labels_that_are_missing():
    with pytest.raises(ValueError, match="no column 'author'"):
        labelled(["text,a\nx,y\n"], "a.csv", "author")
    with pytest.raises(ValueError, match="no record with a field 'author'"):
        labelled(['{"text": "a"}'], "a.jsonl", "author")
