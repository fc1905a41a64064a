import signal
import threading

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from textgen.cli.line_editor import CommandCompleter, LineEditor

PASTE, END_OF_PASTE = "\x1b[200~", "\x1b[201~"
UP, LEFT, BACKSPACE, ENTER = "\x1b[A", "\x1b[D", "\x7f", "\r"
CTRL_C, CTRL_D = "\x03", "\x04"


@pytest.fixture
def ask():
    """A function that types keys and returns the line."""
    with create_pipe_input() as keys:
        editor = LineEditor({"/help": "", "/save": ""}, keys, DummyOutput())

        def typed(text, remember=True):
            keys.send_text(text)
            return editor.ask("Beginning: ", remember)

        typed.keys = keys
        yield typed


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        ("Shall I " + ENTER, "Shall I "),
        ("ab" + LEFT + "x" + BACKSPACE + "c" + ENTER, "acb"),
        ("春Ä\u0308🙂" + ENTER, "春Ä\u0308🙂"),
        ("typed ahead\n", "typed ahead"),
        # A Ctrl-D that was typed while the terminal was not in raw mode.
        ("a\0b" + LEFT + "c" + ENTER, "acb"),
    ],
)
def test_typed_lines(ask, typed, line):
    assert ask(typed) == line


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n"])
def test_pasted_newlines_stay_in_the_line(ask, newline):
    lines = f"Shall I{newline}compare{newline}{newline}thee"
    line = ask(f"O {PASTE}{lines}{END_OF_PASTE}?{ENTER}")
    assert line == "O Shall I\ncompare\n\nthee?"


def test_pasted_newline_at_the_end(ask):
    assert ask(f"{PASTE}one\ntwo\n{END_OF_PASTE}{ENTER}") == "one\ntwo\n"


def test_two_pastes_are_two_lines_only_with_enter(ask):
    paste = f"{PASTE}a\nb{END_OF_PASTE}"
    assert ask(paste + paste + ENTER) == "a\nba\nb"
    assert ask(paste + ENTER + paste + ENTER) == "a\nb"
    assert ask("") == "a\nb"


def test_history_holds_lines_but_no_answers(ask):
    ask("first" + ENTER)
    ask(f"{PASTE}second\nline{END_OF_PASTE}{ENTER}")
    ask("answer" + ENTER, remember=False)
    assert ask(UP + ENTER) == "second\nline"
    assert ask(UP * 3 + ENTER) == "first"  # up through both lines of the second one
    assert ask(UP + "x" + ENTER, remember=False) == "x"


@pytest.mark.parametrize("typed", [CTRL_D, "x" + BACKSPACE + CTRL_D])
def test_ctrl_d_in_an_empty_line_ends_the_input(ask, typed):
    with pytest.raises(EOFError):
        ask(typed)


def test_ctrl_d_elsewhere_deletes(ask):
    assert ask("ab" + LEFT + CTRL_D + ENTER) == "a"


def test_ctrl_c_raises(ask):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        ask("not this" + CTRL_C)
    assert signal.getsignal(signal.SIGINT) is handler
    assert ask("that" + ENTER) == "that"


def test_bytes_that_are_not_utf8_become_one_symbol(ask):
    ask.keys.send_bytes(b"a\xffb\r")
    assert ask("") == "a\ufffdb"


def test_it_runs_in_another_thread(ask):
    lines = []
    thread = threading.Thread(target=lambda: lines.append(ask("a" + ENTER)))
    thread.start()
    thread.join(30)
    assert lines == ["a"]


def completed(text):
    """Returns the lines that the Tab key offers, and their descriptions."""
    completer = CommandCompleter(
        {"/seed": "a seed", "/save": "a file", "/help": "this list"}
    )
    document = Document(text, len(text))
    return {
        text[: len(text) + each.start_position] + each.text: each.display_meta_text
        for each in completer.get_completions(document, CompleteEvent())
    }


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("/", {"/seed": "a seed", "/save": "a file", "/help": "this list"}),
        ("/s", {"/seed": "a seed", "/save": "a file"}),
        ("/help", {"/help": "this list"}),
        ("/x", {}),
        ("/help ", {}),
        ("//", {}),
        ("", {}),
        ("s", {}),
        (" /s", {}),
        ("he said\n/s", {}),
    ],
)
def test_completion_of_commands(typed, found):
    assert completed(typed) == found


def test_completion_of_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my poems").mkdir()
    (tmp_path / "my poems" / "first.txt").touch()
    (tmp_path / "other.txt").touch()
    assert set(completed("/save ")) == {"/save my poems", "/save other.txt"}
    assert set(completed("/save my")) == {"/save my poems"}
    assert set(completed("/save my poems/")) == {"/save my poems/first.txt"}
    assert set(completed("/save ~/o")) == {"/save ~/other.txt"}
    assert set(completed("/save  no")) == set()
    assert set(completed("/seed o")) == set()


def test_history_of_two_editors_is_not_shared():
    with create_pipe_input() as keys:
        LineEditor({}, keys, DummyOutput())
        keys.send_text("first" + ENTER)
        assert LineEditor({}, keys, DummyOutput()).ask("") == "first"
        keys.send_text(UP + "x" + ENTER)
        assert LineEditor({}, keys, DummyOutput()).ask("") == "x"
