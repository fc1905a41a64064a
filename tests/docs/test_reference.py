"""The reference shows every public name and every command, and its examples run."""

import gzip
import inspect
import io
import re
from pathlib import Path

import pytest

import textgen
from textgen.cli import main

DOCS = Path(__file__).parents[2] / "docs"
BUILT = DOCS / "_build" / "html" / "reference"
REFERENCE = "".join(
    path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("reference/*.md"))
)
TEXT = "Shall I compare thee to a summer's day\nso long lives this and this\n" * 60
# The same examples, with less work.
LESS_WORK = {
    "1_000_000": "3",
    "minutes=5": "minutes=0.01",
    "TimeBudget(5)": "TimeBudget(0.01)",
    "epochs=20": "epochs=1",
    "epochs=5": "epochs=1",
}
NEED_JAX = ("distribute", "use_all_devices")
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", sorted(set(textgen.__all__) - {"__version__"}))
def test_every_public_name_has_an_entry(name):
    entries = re.findall(r"^ *\.\. (?:py:)?\w+:: textgen\.(\w+)$", REFERENCE, re.M)
    assert entries.count(name) == 1


def test_entries_exist():
    entries = re.findall(r"^ *\.\. (?:py:)?\w+:: textgen\.([\w.]+)$", REFERENCE, re.M)
    for entry in entries:
        if not entry.startswith("decoding."):
            value = textgen
            for part in entry.split("."):
                value = getattr(value, part)


needs_build = pytest.mark.skipif(not BUILT.is_dir(), reason="`make docs` builds it")


@needs_build
def test_built_pages_show_docstrings_and_options():
    models = (BUILT / "models.html").read_text(encoding="utf-8")
    assert 'id="textgen.LanguageModel"' in models
    assert "layer normalisation" in models or "layer_norm" in models
    commands = (BUILT / "commands.html").read_text(encoding="utf-8")
    subparsers = main._parser()._subparsers._group_actions[0].choices
    assert len(subparsers) >= 9
    for name, parser in subparsers.items():
        for action in parser._actions:
            for option in action.option_strings:
                if option not in ("-h", "--help"):
                    identity = f"cmdoption-textgen-{name}-{option.lstrip('-')}"
                    assert f'id="{identity}"' in commands, option


@needs_build
def test_built_pages_need_no_network():
    for path in BUILT.parent.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe)[^>]* src=\"([^\"]+)\"", page)
        loaded += re.findall(r"<link[^>]* href=\"([^\"]+)\"", page)
        assert [each for each in loaded if each.startswith(("http", "//"))] == []


def examples():
    """The examples of the docstrings that the reference shows."""
    for name in sorted(set(textgen.__all__) - {"__version__", "CORPORA", "PRETRAINED"}):
        value = getattr(textgen, name)
        members = {name: value}
        if inspect.isclass(value):
            for member in sorted(vars(value)):
                if not member.startswith("_"):
                    members[f"{name}.{member}"] = inspect.getattr_static(value, member)
        if name == "LanguageModel":
            for member in ("generate", "stream", "generate_many", "score", "embed"):
                members[f"{name}.{member}"] = getattr(value, member)
        for full_name, member in members.items():
            if full_name in NEED_JAX:
                continue
            code = EXAMPLE.findall(inspect.cleandoc(inspect.getdoc(member) or ""))
            for number, example in enumerate(code):
                yield pytest.param(example, id=f"{full_name}-{number}")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the files that the examples read."""
    monkeypatch.chdir(tmp_path)
    Path("log").mkdir()
    with gzip.open("log/a.gz", "wt", encoding="utf-8") as file:
        file.write(TEXT)
    Path("poems.txt").write_text(TEXT, encoding="utf-8")


def names_for(example):
    """What an example takes for granted: a text, its ids, a dataset and a model."""
    keras = textgen.import_keras()
    vocabulary = textgen.Vocabulary.from_text(TEXT)
    ids = vocabulary.encode("a\no\ns\n" if "LineLabels" in example else TEXT)
    model = textgen.LanguageModel(vocabulary, units=8)
    model.compile("adam")
    dataset = textgen.WindowDataset(vocabulary.encode(TEXT), batch_size=512)
    return {
        **{"keras": keras, "textgen": textgen, "text": TEXT, "ids": ids},
        **{"vocabulary": vocabulary, "model": model, "dataset": dataset},
        **{"train": dataset, "validation": dataset, "resume": False},
        "file": io.StringIO(),
    }


@pytest.mark.parametrize("example", list(examples()))
def test_examples_of_docstrings_run(example, folder):
    for long, short in LESS_WORK.items():
        example = example.replace(long, short)
    exec(example, names_for(example))
