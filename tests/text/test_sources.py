"""Several texts as one corpus: lists, folders and patterns."""

import glob
import gzip
import io
import os
import sys
import warnings
from pathlib import Path

import pytest

import textgen
from textgen.text import sources

# What `load_corpus` reads of the folder "poems", in this order.
POEMS = {
    "poems/B.txt": "B\n",
    "poems/a/2.txt": "two\r\n",
    "poems/a/b/c.txt": "c\r",
    "poems/a.md": "a",
    "poems/a.txt.gz": "packed",
    "poems/empty.txt": "",
    "poems/z": "last",
}
JOINED = "B\ntwo\nc\na\npacked\nlast"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Changes to a folder with a folder of poems, and with files that are not read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, text in POEMS.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    for name in ("poems/.hidden", "poems/.git/config", "poems/a/.DS_Store"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"\xff hidden")
    return tmp_path


def lines_of(paths):
    """Returns the text of files by the definition: whole files, whole lines."""
    texts = [path.read_text() for path in paths]
    between = [text if text.endswith("\n") else f"{text}\n" for text in texts[:-1]]
    return "".join([*between, *texts[-1:]])


def test_lists():
    plain = [Path("poems/z"), Path("poems/a.md"), Path("poems/B.txt"), Path("poems/z")]
    expected = "last\na\nB\nlast"
    assert lines_of(plain) == expected
    assert textgen.load_corpus(plain) == expected
    assert textgen.load_corpus(tuple(map(str, plain))) == expected
    assert textgen.load_corpus(plain, lowercase=True) == expected.lower()
    assert textgen.load_corpus(["poems/z"]) == "last"


def test_a_list_can_name_everything():
    names = textgen.load_corpus("dinosaurs")
    given = ["dinosaurs", "poems", "poems/?.txt", Path("poems/a.txt.gz")]
    assert textgen.load_corpus(given) == f"{names}{JOINED}\nB\npacked"


def test_empty_texts_add_nothing():
    given = ["poems/empty.txt", "poems/a.md", "poems/empty.txt", "poems/z"]
    assert textgen.load_corpus(given) == "a\nlast"


@pytest.mark.parametrize("name", ["poems", "poems/", "./poems", "~/poems"])
def test_folders(name):
    assert textgen.load_corpus(name) == JOINED
    assert textgen.load_corpus(Path("poems")) == JOINED


def test_folder_is_read_in_the_order_of_its_paths():
    order = [Path(name) for name in POEMS]
    expected = [path for path in sorted(Path("poems").rglob("*")) if path in order]
    assert sources.files_of_folder(Path("poems")) == expected
    # Folders and files are sorted together.
    assert expected.index(Path("poems/a/2.txt")) < expected.index(Path("poems/a.md"))


def test_links_in_folders(folder):
    Path("poems/link").symlink_to(folder / "poems" / "z")
    Path("poems/broken").symlink_to(folder / "nowhere")
    Path("poems/loop").symlink_to(folder / "poems")
    os.mkfifo("poems/pipe")
    found = sources.files_of_folder(Path("poems"))
    assert sorted(map(str, found)) == sorted([*POEMS, "poems/link"])
    Path("other").symlink_to("poems")
    assert textgen.load_corpus("other").count("last") == 2


BINARY = {
    "b.png": b"\x89PNG",
    "c.pyc": b"code\0",
    "d.pdf": b"%PDF-",
    "e.tar.gz": gzip.compress(bytes(257) + b"ustar"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_binary_files_of_a_folder_are_left_out_with_a_warning(encoding):
    for name, data in BINARY.items():
        Path("poems", name).write_bytes(data)
    with pytest.warns(UserWarning, match=r"poems: 4 binary files left") as caught:
        assert textgen.load_corpus("poems", encoding=encoding) == JOINED
    assert all(name in str(caught[0].message) for name in BINARY)
    assert caught[0].filename == __file__
    # In a list or a pattern, they are an error.
    for name in ("poems/*.p*", ["poems/z", "poems/d.pdf"]):
        with pytest.raises(ValueError, match=r"poems/(b.png|d.pdf) is a"):
            textgen.load_corpus(name, encoding=encoding)


def test_folder_in_utf_16():
    text = "naïve 詩\n"
    for name in POEMS:
        Path(name).unlink()
    Path("poems/a.txt").write_text(text, encoding="utf-16")
    Path("poems/b.txt").write_text(text, encoding="utf-16-le")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert textgen.load_corpus("poems", encoding="UTF-16") == 2 * text
        # Not left out: this file says that it is a text.
        with pytest.raises(ValueError, match=r"a\.txt .*encoding='utf-16'"):
            textgen.load_corpus("poems")


def test_a_folder_that_cannot_be_read_is_an_error(monkeypatch):
    scan = os.scandir

    def refuse(path):
        if os.fspath(path) == "poems/a":
            raise PermissionError(13, "Permission denied", "poems/a")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="poems/a"):
        textgen.load_corpus("poems")


@pytest.mark.parametrize(
    "pattern",
    ["poems/*.txt", "poems/**", "poems/**/*.txt", "poems/[a-z]", "~/poems/?*", "p*/*"],
)
def test_patterns(pattern, folder):
    expected = sorted(
        Path(each)
        for each in glob.glob(pattern.replace("~", str(folder)), recursive=True)
        if os.path.isfile(each)
    )
    assert expected
    assert textgen.load_corpus(pattern) == textgen.load_corpus(expected)
    assert textgen.load_corpus(Path(pattern)) == textgen.load_corpus(expected)


def test_a_pattern_of_all_files_is_the_folder():
    assert textgen.load_corpus("poems/**") == JOINED


def test_a_file_of_the_name_comes_before_the_pattern():
    Path("[a].txt").write_text("this one")
    Path("a.txt").write_text("not this one")
    assert textgen.load_corpus("[a].txt") == "this one"


def test_standard_input_in_a_list(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"typed")))
    assert textgen.load_corpus(["-"]) == "typed"


def test_a_folder_does_not_hide_a_registered_corpus():
    Path("dinosaurs").mkdir()
    Path("dinosaurs/a.txt").write_text("mine")
    assert textgen.load_corpus(Path("dinosaurs")).startswith("A")
    assert textgen.load_corpus("./dinosaurs") == "mine"


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("none", FileNotFoundError, "folder none has no text file. Hidden files and"),
        ("nul", FileNotFoundError, "folder nul has no text file"),
        ("blank", ValueError, "^blank is empty: a corpus needs"),
        (
            "*.csv",
            FileNotFoundError,
            r"'\*\.csv' is no existing file, and as a pattern",
        ),
        ("a\0*", FileNotFoundError, "is no existing file, and as a pattern"),
        ("", FileNotFoundError, "^'' is neither an existing file or folder"),
        (["poems", ""], FileNotFoundError, "^'' is neither"),
        (["poems", "no.txt"], FileNotFoundError, "'no.txt' is neither"),
        (["poems/a.md", "latin.txt"], ValueError, "^latin.txt is not valid utf-8"),
        ("latin.t*", ValueError, "^latin.txt is not valid utf-8"),
        ("bad", ValueError, r"^bad/x\.gz is not a valid gzip file"),
        (["blank", "blank"], ValueError, "^blank, blank are empty"),
        (["poems", "-"], ValueError, "Standard input, -, cannot be one of several"),
        (["-", "-"], ValueError, "Standard input, -, cannot be one of several"),
        ([], ValueError, r"name_or_path=\[\] must have at least one"),
        (["poems", 3], TypeError, r"name_or_path=\['poems', 3\] must be a name"),
        ([["poems"]], TypeError, r"name_or_path=\[\['poems'\]\] must be a name"),
        (None, TypeError, "name_or_path=None must be a name"),
        (iter(["poems"]), TypeError, "list of them, such as sorted"),
    ],
)
def test_errors_name_the_file(name, error, message):
    for each in ("none", "nul", "blank", "bad"):
        Path(each).mkdir()
    Path("none/.hidden").write_text("hidden")
    Path("nul/nul").write_bytes(b"\0")
    Path("blank/a.txt").touch()
    Path("bad/a.txt").write_text("good")
    Path("bad/x.gz").write_bytes(gzip.compress(b"text")[:-1])
    Path("latin.txt").write_bytes("naïve".encode("latin-1"))
    with pytest.raises(error, match=message):
        textgen.load_corpus(name)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/home/me/poems.txt", "poems.txt"),
        ("poems/", "poems"),
        ("-", "standard input"),
        (["-"], "standard input"),
        (["a/b.txt", "c"], "b.txt, c"),
        ("poems/*.txt", "*.txt"),
        ([*"abcdef"], "a, b, c, d, e, f"),
        ([*"abcdefg"], "a, b, c, d, e and 2 more"),
    ],
)
def test_titles(source, expected):
    assert sources.title(source) == expected


def test_title_of_the_working_folder(folder):
    assert sources.title(".") == folder.name
