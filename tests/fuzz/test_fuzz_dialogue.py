"""The dialogue of `textgen complete` in a pipe: any bytes, any value of a command."""

import re

import pytest
from fuzz_tools import check, contents, empty_folder, run, texts
from hypothesis import example, given
from hypothesis import strategies as st

from textgen.cli.completion_commands import COMMANDS

# Without a length: the texts must stay short.
NAMES = [name for name in COMMANDS if name not in ("/length", "/quit", "/exit")]
VALUES = st.one_of(
    texts.map(lambda text: re.sub(r"[\r\n]", " ", text)),
    st.sampled_from(["0", "1", "3", "-1", "nan", "inf", "0.5 2", "9" * 30, "9" * 5000]),
    st.sampled_from(
        ["skip", "error", "e", '"a b" c', '""', "~nobody/x", "a/", "2 the"]
    ),
)
COMMAND = st.tuples(st.sampled_from([*NAMES, "/", "//", "/x"]), VALUES).map(" ".join)
BEGINNINGS = st.one_of(st.sampled_from(["the ", "", "é", "t\\n", "//", " q"]), VALUES)
LINE = st.one_of(BEGINNINGS, st.sampled_from(NAMES), COMMAND)


def encoded(lines):
    return "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"


INPUT = st.one_of(st.lists(LINE, max_size=8).map(encoded), st.binary(max_size=60))


@pytest.mark.parametrize("model", ["sequence", "window", "words"])
@given(
    INPUT, st.lists(st.sampled_from(["--seed=1", "--top-k=2", "--stop=e"]), max_size=2)
)
@example(b"the \n/save new.txt\n", [])
@example(b"the \n/save new/\n", [])
def test_any_dialogue(model, files, input, options):
    command = ["complete", files / f"{model}.keras", "--max-new-tokens", 4, *options]
    with empty_folder() as folder:
        result = run(command, input)
        assert not contents(folder)  # /save is for a terminal
        check(result, codes=(0, 2), lines=None)
    complaint = r"^textgen complete: line (\d+): "
    complaints = list(map(int, re.findall(complaint, result.errors, re.MULTILINE)))
    assert (result.code == 2) == bool(complaints)
    assert complaints == sorted(complaints)
    # Python's universal newlines: "\r" ends a line too.
    assert max(complaints, default=0) <= len(re.split(b"\r\n|\r|\n", input))
    if "--seed=1" in options and b"/seed" not in input:
        assert run(command, input) == result


@given(st.lists(st.sampled_from(["poem.txt", "poems/", ".", "a/b", "\0", "x" * 300])))
def test_saving_what_was_allowed(files, names):
    command = ["complete", files / "sequence.keras", "--max-new-tokens", 4]
    lines = ["the ", *(f"/save {name}" for name in names)]
    with empty_folder() as folder:
        (folder / "poem.txt").write_text("old")
        result = run([*command, "--allow-save"], encoded(lines))
        check(result, codes=(0, 2), lines=None)
        written = contents(folder)
        assert written.pop("poem.txt") == b"old"
        assert len(written) == len(re.findall("^saved ", result.errors, re.MULTILINE))
        for text in written.values():
            assert text.decode().strip() == result.output.strip()
