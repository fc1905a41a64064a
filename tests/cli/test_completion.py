import inspect
import io
import itertools
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from textgen.cli import completion
from textgen.cli.completion_commands import COMMANDS
from textgen.text.unknown import UnknownSymbolsError

TIMEOUT = 30  # seconds, for what takes a tenth of one on an idle machine


class Fake:
    """Generates ` one two three.`, then its seed; knows neither é nor →."""

    def __init__(self):
        self.calls = []
        self.rules = []
        self.labels = []

    def check(self, text, unknown):
        if unknown not in (None, "error", "skip", "?", "\n"):
            raise ValueError(f"unknown={unknown!r} must be ...")
        missing = {each: text.index(each) for each in "é→" if each in text}
        if missing and unknown in (None, "error"):
            raise UnknownSymbolsError(missing, 20)

    def stream(
        self,
        prompt,
        max_new_tokens,
        temperature,
        *,
        stop,
        max_lines,
        top_k,
        seed,
        echo,
        unknown,
        label,
    ):
        self.labels.append(label)
        self.calls.append((prompt, max_new_tokens, temperature, max_lines, seed))
        self.rules.append((stop, top_k, unknown))
        assert echo is False
        assert len(self.calls) < 100, "the end of the input is not seen"
        self.check(prompt, unknown)
        if "huge" in prompt:
            raise MemoryError
        yield from (" one", "\ntwo", " three", f" {seed}.")

    def next_symbols(self, text, count, *, unknown, label):
        self.check(text, unknown)
        for each in label or []:
            if each not in ("poe", "keats b"):
                raise ValueError(f"The model has no label {each!r}.")
        assert len(text) < 100, "the end of the input is not seen"
        found = [("a", 0.5), (" ", 0.25), ("\n", 0.2), ("\t", 0.05)]
        return found[:count]


class Slow(Fake):
    """Generates without an end."""

    def stream(self, prompt, *_, **__):
        for number in itertools.count(1):
            yield f" la{number}"
            time.sleep(0.02)


class Stuck(Fake):
    """Computes for a minute before the first symbol."""

    def stream(self, prompt, *_, **__):
        if "stuck" in prompt:
            print("computing", flush=True)
            time.sleep(60)
        yield " done"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def pipe(*lines, model=None, **settings):
    """Completes lines of a pipe; returns the exit code, output and errors."""
    output, errors = io.StringIO(), io.StringIO()
    settings = {"may_save": True, **settings}
    text = "".join(line + "\n" for line in lines)
    code = completion.complete(
        model or Fake(), io.StringIO(text), output, errors, **settings
    )
    return code, output.getvalue(), errors.getvalue()


def calls(*lines, **settings):
    """Returns the calls of the model by lines that cause no error."""
    model = Fake()
    code, _, _ = pipe(*lines, model=model, **settings)
    assert code == 0
    return model.calls


def poem(beginning="", seed=None):
    return f"{beginning} one\ntwo three {seed}.\n"


# Beginnings


def test_each_line_of_a_pipe_is_a_beginning():
    code, output, errors = pipe("Shall I", "Forsooth ")
    assert (code, errors) == (0, "")
    assert output == poem("Shall I") + "\n" + poem("Forsooth ")


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("", ""),
        ("sense ", "sense "),
        (" a  b  ", " a  b  "),
        (r"one\ntwo\tthree\\n\x", "one\ntwo\tthree\\n\\x"),
        ("//help", "/help"),
        ("///", "//"),
        (" /help", " /help"),
        ("ÿ\x0b\u2028a", "ÿ\x0b\u2028a"),
    ],
)
def test_beginnings(line, prompt):
    assert [call[0] for call in calls(line)] == [prompt]
    assert pipe(line)[1] == poem(prompt)


def test_a_last_line_without_an_end():
    output = io.StringIO()
    completion.complete(Fake(), io.StringIO("a\nb"), output, io.StringIO())
    assert output.getvalue() == poem("a") + "\n" + poem("b")


def test_no_lines_at_all():
    assert pipe() == (0, "", "")


def test_a_poem_that_ends_its_line_gets_no_other_end():
    model = Fake()
    model.stream = lambda *_, **__: iter(["b\n"])
    assert pipe("a", "", model=model)[1] == "ab\n\nb\n"


def test_an_empty_poem_is_an_empty_line():
    model = Fake()
    model.stream = lambda *_, **__: iter([])
    assert pipe("", "", model=model)[1] == "\n\n\n"


def test_pieces_are_shown_as_they_come():
    model, output, seen = Fake(), io.StringIO(), []

    def stream(*_, **__):
        for piece in "xyz":
            yield piece
            seen.append(output.getvalue())

    model.stream = stream
    completion.complete(model, io.StringIO("a\n"), output, io.StringIO())
    assert seen == ["ax", "axy", "axyz"]


# Settings and commands


def test_settings_given_by_the_caller():
    [call] = calls(
        "a", temperature=[1.0, 0.5], max_new_tokens=7, max_lines=3, seed=4, unknown="?"
    )
    assert call == ("a", 7, [1.0, 0.5], 3, 4)
    assert calls("a") == [("a", 400, 0.7, None, None)]
    assert calls("a", temperature=[0.5], max_lines=0)[0][2:4] == (0.5, None)


def test_unknown_goes_to_the_model():
    assert pipe("é")[0] == 2
    assert pipe("/choose 2 é")[0] == 2
    assert pipe("é", "/choose 2 é", unknown="skip")[0] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1}, "temperature -1 must"),
        ({"temperature": [1.0, float("nan")]}, "temperature nan must"),
        ({"max_new_tokens": 0}, "length 0 must"),
        ({"max_lines": -1}, "lines -1 must"),
        ({"seed": -1}, "seed -1 must"),
    ],
)
def test_bad_settings_are_reported_before_the_first_line(settings, message):
    with pytest.raises(ValueError, match=message):
        pipe("a", **settings)


@pytest.mark.parametrize(
    ("line", "place", "value", "confirmation"),
    [
        ("/temperature 0.5", 2, 0.5, "temperature 0.5"),
        ("/temperature 0", 2, 0.0, "temperature 0"),
        ("/temperature  1  0.5 ", 2, [1.0, 0.5], "temperature 1 0.5"),
        ("/temperature", 2, 0.9, "temperature 0.9"),
        ("/lines 14", 3, 14, "lines 14"),
        ("/lines\t14 ", 3, 14, "lines 14"),
        ("/lines 0", 3, None, "lines: no limit"),
        ("/lines", 3, None, "lines: no limit"),
        ("/length 20", 1, 20, "length 20"),
        ("/length", 1, 300, "length 300"),
        ("/seed 3", 4, 3, "seed 3"),
        ("/seed 0", 4, 0, "seed 0"),
        ("/seed", 4, None, "seed: random"),
    ],
)
def test_setting_commands(line, place, value, confirmation):
    model = Fake()
    code, output, errors = pipe(
        line,
        "a",
        model=model,
        temperature=0.9,
        max_new_tokens=300,
        max_lines=9,
        seed=8,
    )
    expected = ["a", 300, 0.9, 9, 8]
    expected[place] = value
    assert model.calls == [tuple(expected)]
    # The poem alone is in the output.
    assert (code, output) == (0, poem("a", expected[4]))
    assert errors == confirmation + "\n"


@pytest.mark.parametrize(
    ("line", "rules", "confirmation"),
    [
        ("/stop END", (["END"], None, "?"), 'stop "END"'),
        (r"/stop \n\n  end.", (["\n\n", "end."], None, "?"), r'stop "\n\n" "end."'),
        ('/stop "THE END" "', (["THE END", '"'], None, "?"), 'stop "THE END" """'),
        (r"/stop a\\nb", (["a\\nb"], None, "?"), r'stop "a\\nb"'),
        ("/stop", (None, None, "?"), "stop: where the model ends its texts (default)"),
        ("/top-k 5", (None, 5, "?"), "top-k 5"),
        ("/top-k", (None, None, "?"), "top-k: off"),
        ("/unknown skip", (None, None, "skip"), "unknown skip"),
        ("/unknown error ", (None, None, "error"), "unknown error"),
        (r"/unknown \n", (None, None, "\n"), r"unknown \n"),
        ("/unknown", (None, None, "?"), "unknown ?"),
    ],
)
def test_rules_of_sampling_and_stops(line, rules, confirmation):
    model = Fake()
    code, output, errors = pipe(line, "a", model=model, unknown="?")
    assert (code, output) == (0, poem("a"))
    assert model.rules == [rules]
    assert errors == confirmation + "\n"


def test_stop_and_top_k_are_switched_off_again():
    model = Fake()
    pipe("/stop END", "/top-k 5", "a", "/stop", "/top-k", "/again", model=model)
    assert [rules[:2] for rules in model.rules] == [(["END"], 5), (None, None)]


def test_stop_and_top_k_of_the_command_line_hold_until_they_are_changed():
    model = Fake()
    pipe("a", "/stop", "/top-k 2", "a", model=model, stop=["END"], top_k=5)
    assert [rules[:2] for rules in model.rules] == [(["END"], 5), (None, 2)]


def test_unknown_symbols_are_all_reported_and_can_be_replaced():
    lines = ["/unknown", "thé→", "/unknown ?", "thé→"]
    code, output, errors = pipe(*lines)
    assert (code, output) == (2, poem("thé→"))
    assert errors.splitlines() == [
        "unknown: as the model was trained (default)",
        "textgen complete: line 2: Not in the vocabulary of 20 symbols: 'é' at "
        "position 2, '→' at position 3. Type /unknown skip to leave them out, or "
        "/unknown and a symbol that replaces them.",
        "unknown ?",
    ]


def test_the_default_length_grows_with_the_lines():
    lines = ["a", "/lines 14", "a", "/length 20", "/lines 15", "a", "/lines", "a"]
    assert [call[1] for call in calls(*lines)] == [400, 1400, 20, 20]
    assert calls("a", max_lines=14)[0][1] == 1400


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/temperature warm", ["temperature warm", "/temperature 0.5"]),
        ("/temperature -1", ["temperature -1", "/temperature 0.5"]),
        ("/temperature 0,5", ["temperature 0,5", "/temperature 0.5"]),
        ("/temperature 1 nan", ["temperature nan", "/temperature 0.5"]),
        ("/temperature inf", ["temperature inf", "/temperature 0.5"]),
        ("/lines -1", ["lines -1", "at least 0"]),
        ("/lines 1.5", ["lines 1.5", "at least 0"]),
        ("/length 0", ["length 0", "at least 1"]),
        ("/length long", ["length long", "at least 1"]),
        ("/seed -3", ["seed -3", "at least 0"]),
        ("/seed x y", ["seed x y", "at least 0"]),
        ("/choose 0", ["choose 0", "at least 1"]),
        ("/choose Shall I", ["choose Shall", "/choose 5"]),
        ("/choose 2 é", ["'é' at position 0"]),
        ("/top-k 0", ["top-k 0", "at least 1", "/top-k 5"]),
        ("/top-k many", ["top-k many", "at least 1", "/top-k 5"]),
        ('/stop ""', ['stop ""', "/stop alone"]),
        ("/unknown é", ["unknown é", "error, skip or a symbol", "/unknown skip"]),
        ("/undo 2", ["/undo", "'2'"]),
        ("/verse", ["/verse", "/help", "//verse"]),
        ("/", ["/help", "//"]),
        ("/seed3", ["/seed3", "/help"]),
        ("/more 3", ["/more", "'3'"]),
        ("/again Shall I", ["/again", "'Shall I'"]),
        ("/save", ["/save poem.txt", "/save poems/"]),
        ("é", ["'é' at position 0", completion.UNKNOWN_REMEDY]),
        ("huge", ["MemoryError"]),
    ],
)
def test_mistakes_are_one_line_and_lose_nothing(line, words):
    model = Fake()
    settings = {"temperature": 0.9, "max_new_tokens": 30, "max_lines": 9, "seed": 8}
    code, output, errors = pipe("a", line, "/again", "/more", model=model, **settings)
    assert code == 2
    message, *rest = errors.splitlines()
    assert message.startswith("textgen complete: line 2: ")
    assert all(word in message for word in words)
    assert len(rest) == 1  # the seed of /again
    good = [call for call in model.calls if call[0] not in ("é", "huge")]
    assert [call[:4] for call in good] == [
        ("a", 30, 0.9, 9),
        ("a", 30, 0.9, 9),
        (good[2][0], 30, 0.9, 9),
    ]
    assert good[2][0].startswith("a one\ntwo three ")
    assert output.count("one") == 3


@pytest.mark.parametrize(
    ("line", "verb"),
    [
        ("/again", "repeat"),
        ("/more", "continue"),
        ("/undo", "undo"),
        ("/save poem.txt", "save"),
        ("/save poems/", "save"),
    ],
)
def test_commands_that_need_a_text(line, verb, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output, errors = pipe(line)
    assert (code, output) == (2, "")
    assert f"nothing to {verb}" in errors and "type a beginning" in errors
    assert errors.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_other_errors_are_not_hidden():
    model = Fake()
    model.stream = None
    with pytest.raises(TypeError):
        pipe("a", model=model)


def test_an_error_in_the_middle_keeps_the_text_so_far():
    model = Fake()

    def stream(*_, **__):
        yield "b"
        raise ValueError("too\nmuch")

    model.stream = stream
    code, output, errors = pipe("a", model=model)
    assert (code, output) == (2, "ab\n")
    assert errors == "textgen complete: line 1: too much\n"


def test_again_takes_the_next_seed():
    lines = ["a", "/again", "/again", "b", "/seed 7", "/again", "/again", "c"]
    seeds = [(call[0], call[4]) for call in calls(*lines, seed=3)]
    assert seeds == [
        ("a", 3),
        ("a", 4),
        ("a", 5),
        ("b", 3),
        ("b", 7),
        ("b", 8),
        ("c", 7),
    ]


def test_again_tells_the_seed():
    assert pipe("a", "/again", seed=3)[2] == "seed 4\n"
    assert pipe("a", "/again")[1:] == (poem("a") + "\n" + poem("a"), "")


def test_more_goes_on_where_the_text_ended():
    text = "a one\ntwo three 3."
    more = text + " one\ntwo three 4."
    model = Fake()
    code, output, _ = pipe("a", "/more", "/more", "/again", model=model, seed=3)
    assert code == 0
    assert [call[0] for call in model.calls] == ["a", text, more, "a"]
    assert [call[4] for call in model.calls] == [3, 4, 5, 6]
    # The line that it goes on in is shown again.
    assert output.split("\n\n")[1] == "two three 3. one\ntwo three 4."


def undo(*lines, model=None):
    """Returns what `/undo`, `/more` and `/again` after these lines say and use."""
    model = model or Fake()
    code, _, errors = pipe(*lines, "/more", "/again", model=model)
    assert code == 0
    return errors, model.calls[-2][0], model.calls[-1][0]


@pytest.mark.parametrize("count", [1, 2])
def test_undo_removes_what_more_added(count):
    told, continued, again = undo("a", *["/more"] * count, *["/undo"] * count)
    assert told == "undone: /more; the text now ends with\n  two three None.\n" * count
    assert (continued, again) == ("a one\ntwo three None.", "a")


def test_undo_returns_to_the_text_before_a_beginning():
    told, continued, again = undo("a", "b one", "/undo")
    assert told == (
        'undone: the beginning "b one"; the text now ends with\n  two three None.\n'
    )
    assert (continued, again) == ("a one\ntwo three None.", "a")


def test_undo_of_again_and_of_choices():
    model = Fake()
    lines = ["/seed 1", "a", "/again", "/choose 2", "1", "2", "q", "/undo", "/undo"]
    told, continued, _ = undo(*lines, model=model)
    assert "undone: /choose; the text now ends with\n  two three 2.\n" in told
    assert "undone: /again; the text now ends with\n  two three 1.\n" in told
    assert continued == "a one\ntwo three 1."
    # The seed is not undone, so that another text follows.
    assert [call[4] for call in model.calls] == [1, 2, 3, 4]


def test_undo_of_chosen_text_restores_the_beginning():
    told, continued, again = undo("b", "/choose 2 x", "1", "1", "q", "/undo")
    assert told.endswith("undone: /choose; the text now ends with\n  two three None.\n")
    assert (continued, again) == ("b one\ntwo three None.", "b")


def test_undo_back_to_the_start():
    code, _, errors = pipe(r"a\nb", "/more", "/undo", "/undo", "/undo", "/more")
    assert code == 2
    assert errors.splitlines()[2:] == [
        'undone: the beginning "a…"; there is no text now',
        "textgen complete: line 5: nothing to undo: type a beginning",
        "textgen complete: line 6: nothing to continue yet: type a beginning",
    ]


def test_a_beginning_that_fails_leaves_nothing_to_undo():
    told, continued, _ = undo("a", "/more", "/choose 2 x", "q", "/undo")
    assert "undone: /more;" in told
    assert continued == "a one\ntwo three None."
    assert pipe("é", "/undo")[2].count("nothing to undo") == 1


def test_more_that_adds_nothing_is_reported_and_not_undone():
    model = Fake()
    model.stream = lambda prompt, *_, **__: iter(["b"] * (prompt == "a"))
    output = Terminal()
    completion.complete(model, Terminal("a\n/more\n/undo\n"), output, output)
    assert "the model ended the text: nothing was added\n" in output.getvalue()
    assert 'undone: the beginning "a"; there is no text now' in output.getvalue()


def test_undo_keeps_a_limited_number_of_texts(monkeypatch):
    monkeypatch.setattr(completion, "_MAX_UNDO", 2)
    code, _, errors = pipe(*"abc", *["/undo"] * 3)
    assert (code, errors.count("undone: ")) == (2, 2)
    assert "line 6: nothing to undo" in errors


def test_save(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output, errors = pipe("sünde", "/save my poem.txt ", "/more")
    assert (code, errors) == (0, "saved my poem.txt\n")
    assert Path("my poem.txt").read_bytes().decode() == poem("sünde")
    assert output.endswith("\n\ntwo three None. one\ntwo three None.\n")


@pytest.mark.parametrize("may_save", [None, False])
def test_save_in_a_pipe_needs_permission(may_save, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("poem.txt", "poems/", "."):
        code, output, errors = pipe("a", f"/save {name}", "b", may_save=may_save)
        assert code == 2
        assert output == poem("a") + "\n" + poem("b")
        assert "line 2: /save writes files only if" in errors
        assert "--allow-save" in errors
    assert not list(tmp_path.iterdir())


def test_save_at_a_terminal_needs_no_permission(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    terminal = Terminal("a\n/save poem.txt\n")
    assert completion.complete(Fake(), terminal, io.StringIO(), io.StringIO()) == 0
    assert Path("poem.txt").read_text() == poem("a")


class Hostile(Fake):
    """Knows symbols that change the terminal."""

    def stream(self, prompt, *_, **__):
        yield from ("\x1b]0;title\x07", "\x9b2J", "é\t⏎\n")

    def next_symbols(self, text, count, *, unknown, label):
        return [("\x1b", 0.5), ("\x9b", 0.25), ("\r", 0.25)][:count]


class Bytes(Fake):
    """Generates bytes; a character that is not ASCII is several of them."""

    def next_symbols(self, text, count, *, unknown, label):
        found = [("<0xC3>", 0.5), ("e", 0.25), ("<0x3C>0xE9>", 0.2), ("é", 0.05)]
        return found[:count]


def test_parts_of_characters_cannot_be_chosen():
    output, errors = io.StringIO(), io.StringIO()
    lines = "/choose 1 x\n/choose 4 x\n2\n3\n1\nq\n"
    completion.complete(Bytes(), io.StringIO(lines), output, errors)
    shown = errors.getvalue()
    assert "the 1 most probable tokens are parts of characters" in shown
    assert "1 e 25.0%   2 <0xE9> 20.0%   3 é 5.0%" in shown
    assert "x<0xE9>ée" in output.getvalue()


def test_control_characters_do_not_reach_a_terminal():
    shown, errors = Terminal(), Terminal()
    lines = "a\x1b[1m\n/choose 3\nq\n/undo\n/unknown \x1b\n/stop \x1bx\n/no\x1bwhere\n"
    lines += "/temperature \x1b\n"
    for terminal, input in ((True, Terminal(lines)), (False, io.StringIO(lines))):
        output = shown if terminal else io.StringIO()
        completion.complete(Hostile(), input, output, errors)
        if terminal:
            assert "a\\x1b[1m" in output.getvalue()
            assert "\\x1b]0;title\\x07\\x9b2Jé\t⏎\n" in output.getvalue()
        else:  # a file or a pipe gets the text as it is
            assert "a\x1b[1m\x1b]0;title\x07\x9b2Jé\t⏎\n" in output.getvalue()
    bold = re.compile(r"\x1b\[[01]m")
    for text in (bold.sub("", shown.getvalue()), errors.getvalue()):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    assert "/no\\x1bwhere" in errors.getvalue()


def test_save_with_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pipe("a", "/save ~/b.txt")[0] == 0
    assert (tmp_path / "b.txt").read_text() == poem("a")


@pytest.mark.parametrize(
    ("beginning", "name"),
    [
        ("Shall I compare thee to a", "shall-i-compare-thee"),
        ("O, self-love's a…", "o-self-loves-a"),
        (r"\n  Two\nlines.", "two-lines-one-two"),
        ("春眠不覺曉\\n處處", "春眠不覺曉-處處-one-two"),
        ("हिन्दी में", "हिन्दी-में-one-two"),
        ("../../etc/passwd", "etc-passwd-one-two"),
        ("x" * 50, "x" * 40),
    ],
)
@pytest.mark.parametrize("folder", ["poems/", "poems"])
def test_save_into_a_folder(beginning, name, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if folder == "poems":
        Path("poems").mkdir()
    code, _, errors = pipe(beginning, *[f"/save {folder}"] * 3)
    files = [f"poems/{name}{suffix}.txt" for suffix in ("", "-2", "-3")]
    assert code == 0
    assert errors.splitlines() == [f"saved {file}" for file in files]
    text = poem(beginning.replace(r"\n", "\n"))
    assert [Path(file).read_text() for file in files] == [text] * 3
    assert len(list(tmp_path.rglob("*.txt"))) == 3


def test_save_a_text_without_words_into_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Fake()
    model.stream = lambda *_, **__: iter(["!"])
    assert pipe("…", "/save .", model=model)[2] == "saved text.txt\n"
    assert Path("text.txt").read_text() == "…!\n"


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("old.txt", "exists"),
        ("no/such/poem.txt", "No such file"),
        ("~no-such-user/poem.txt", "another name"),
        ("no/such/", "No such file"),
        ("old.txt/", "exists"),
        ("a\0b", "null"),
    ],
)
def test_save_never_overwrites_nor_ends_the_program(name, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    old = tmp_path / "old.txt"
    old.write_text("old")
    code, output, errors = pipe("a", f"/save {name}", "/save new.txt", "b")
    assert code == 2
    assert word in errors and errors.count("\n") == 2
    assert old.read_text() == "old"
    assert (tmp_path / "new.txt").read_text() == poem("a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new.txt", "old.txt"]
    assert output == poem("a") + "\n" + poem("b")


@pytest.mark.parametrize("columns", [30, 40, 80, 120])
def test_help_and_greeting_are_wrapped_at_words(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    output = Terminal()
    completion.complete(Fake(), Terminal("/help\n"), output, output)
    lines = output.getvalue().replace(completion.QUESTION, "").splitlines()
    assert max(map(len, lines)) <= columns
    assert max(map(len, lines)) > columns - 15
    words = output.getvalue().split()
    for text in (completion.GREETING, *(each.help for each in COMMANDS.values())):
        assert " ".join(text.split()) in " ".join(words)


def test_errors_at_a_terminal_are_wrapped_at_words(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    output = Terminal()
    completion.complete(Fake(), Terminal("/verse\né→\n"), output, output)
    lines = output.getvalue().replace(completion.QUESTION, "").splitlines()
    assert max(map(len, lines)) <= 40
    assert completion.UNKNOWN_REMEDY in " ".join(lines)


def test_help_lists_every_command():
    code, output, errors = pipe("/help")
    assert (code, output) == (0, "")
    for name in COMMANDS:
        assert re.search(rf"^{name}\b", errors, re.M)
    assert "//" in errors and r"\n" in errors


@pytest.mark.parametrize("line", ["/quit", "/exit"])
def test_quit(line):
    assert pipe("a", line, "b")[:2] == (0, poem("a"))


@pytest.mark.parametrize("line", ["quit", "exit"])
def test_quit_without_a_slash_at_a_terminal_only(line):
    model = Fake()
    assert completion.complete(model, Terminal(f"{line}\nb\n"), Terminal()) == 0
    assert not model.calls
    assert [call[0] for call in calls(line, "b")] == [line, "b"]


@pytest.mark.parametrize("line", ["quit ", "Exit", "exit left", r"exit\n"])
def test_other_beginnings_that_resemble_quit(line):
    model = Fake()
    completion.complete(model, Terminal(f"{line}\n"), Terminal())
    assert len(model.calls) == 1


# Choosing


def test_choose():
    model = Fake()
    lines = ["/choose 3 Shall I ", "1", "", "2", "3", "q", "/more", "/again"]
    code, output, errors = pipe(*lines, model=model)
    assert code == 0
    assert [call[0] for call in model.calls] == ["Shall I aa \n", "Shall I "]
    assert output.startswith("Shall I aa \n\n one\n")
    shown = errors.splitlines()
    assert shown[:4] == [
        "Shall I ",
        "  1 a 50.0%   2 ␣ 25.0%   3 ⏎ 20.0%",
        "Shall I a",
        "  1 a 50.0%   2 ␣ 25.0%   3 ⏎ 20.0%",
    ]
    assert shown[8] == ""  # a new line was chosen


def test_choose_goes_on_with_the_last_text():
    model = Fake()
    code, output, _ = pipe("b", "/choose 1", "", "q", "/more", model=model)
    assert code == 0
    assert model.calls[1][0] == "b one\ntwo three None.a"
    assert output.split("\n\n")[1] == "two three None.a"


def test_choose_with_nothing_before():
    code, output, errors = pipe("/choose", "1", "4", "q")
    assert (code, output) == (0, "a\t\n")
    assert "4 ⇥ 5.0%" in errors


def test_choose_with_a_beginning_of_two_lines():
    code, output, errors = pipe(r"/choose 2 a\nb ", "", "q")
    assert (code, output) == (0, "a\nb a\n")
    assert errors.startswith("b \n")  # the line that is being written


def test_choose_ends_with_the_input():
    assert pipe("/choose 2 x", "1")[:2] == (0, "xa\n")


def test_choosing_nothing_changes_nothing():
    model = Fake()
    code, output, _ = pipe("b", "/choose 2 x", "q", "/again", "/save", model=model)
    assert code == 2  # /save, to see that the last line is reached
    assert [call[0] for call in model.calls] == ["b", "b"]
    assert output == poem("b") + "\n" + poem("b")


@pytest.mark.parametrize("answer", ["0", "3", "-1", "a", "1 2", "²"])
def test_a_bad_choice_is_asked_for_again(answer):
    code, output, errors = pipe("/choose 2 x", answer, "2", "q")
    assert (code, output) == (2, "x \n")
    [message] = [line for line in errors.splitlines() if "textgen" in line]
    assert message.startswith(f"textgen complete: line 2: {answer!r} is not a number")
    assert "1 to 2" in message


# Ctrl-C, raised in this process while the model writes


class Interrupted(Fake):
    """Gets Ctrl-C before its second piece, and `presses - 1` times more."""

    presses = 1

    def stream(self, prompt, *_, **__):
        yield "1"
        for _ in range(self.presses):
            signal.raise_signal(signal.SIGINT)
        yield "2"
        yield "3"


@pytest.fixture
def _python_handles_interrupts():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_python_handles_interrupts")
class TestInterrupts:
    def complete(self, model, text, kind=Terminal):
        output = kind()
        code = completion.complete(model, kind(text), output, output)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        return code, output.getvalue()

    def test_one_stops_the_poem_after_its_piece(self):
        code, output = self.complete(Interrupted(), "a\n/more\n")
        assert code == 0
        assert "12\n" in output and "3" not in output
        assert output.count(completion.QUESTION) == 3
        assert "a12\x1b[0m12" in output  # /more knew what was written

    def test_two_stop_it_at_once(self):
        model = Interrupted()
        model.presses = 2
        code, output = self.complete(model, "a\n/more\n")
        assert code == 0
        assert "2" not in output
        assert "a1\x1b[0m1" in output

    def test_another_one_while_the_program_leaves_the_question(self):
        presses = [completion.QUESTION, "\n", completion.QUESTION, "\n"]

        class Nervous(Terminal):
            def write(self, text):
                if presses and text == presses[0]:
                    del presses[0]
                    signal.raise_signal(signal.SIGINT)
                return super().write(text)

        output = Nervous()
        assert completion.complete(Fake(), Terminal("a\n"), output, output) == 0
        assert not presses
        assert " one" in output.getvalue()

    def test_in_a_pipe_it_ends_the_program(self):
        output = io.StringIO()
        with pytest.raises(KeyboardInterrupt):
            completion.complete(Interrupted(), io.StringIO("a\nb\n"), output, output)
        assert output.getvalue() == "a12\n"

    @pytest.mark.parametrize("kind", [Terminal, io.StringIO])
    def test_while_choosing(self, kind):
        model = Fake()

        def next_symbols(text, count, unknown, label):
            if text == "xaa":
                signal.raise_signal(signal.SIGINT)
            return [("a", 1.0)]

        model.next_symbols = next_symbols
        if kind is io.StringIO:
            with pytest.raises(KeyboardInterrupt):
                self.complete(model, "/choose 1 x\n\n\nb\n", kind)
            return
        code, output = self.complete(model, "/choose 1 x\n\n\nb\n")
        assert code == 0
        assert "\nx\x1b[0maa\n" in output.replace("\x1b[1m", "\n")
        assert " one" in output  # b was a beginning again

    def test_ignored_ones_stay_ignored(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        output = Terminal()
        completion.complete(Interrupted(), Terminal("a\n"), output, output)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert "123" in output.getvalue()


@pytest.mark.usefixtures("_python_handles_interrupts")
def test_it_runs_in_another_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(pipe("a")))
    thread.start()
    thread.join(TIMEOUT)
    assert results == [(0, poem("a"), "")]


# Terminals for input or output only, colours


def test_a_terminal_to_type_in_with_poems_in_a_file(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    output, errors = io.StringIO(), Terminal()
    code = completion.complete(Fake(), Terminal("a\n/x\nb\n"), output, errors)
    assert code == 0  # the user sees the message
    assert output.getvalue() == poem("a") + "\n" + poem("b")
    assert errors.getvalue().count(completion.QUESTION) == 4
    assert "no command /x" in " ".join(errors.getvalue().split())


def test_a_pipe_whose_poems_are_shown_at_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    output, errors = Terminal(), io.StringIO()
    completion.complete(Fake(), io.StringIO("a\n\n/help\n"), output, errors)
    assert output.getvalue() == f"\x1b[1ma\x1b[0m{poem()}\n{poem()}"
    assert "/quit" in errors.getvalue()


@pytest.mark.parametrize(
    ("name", "value", "colour"),
    [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)],
)
def test_colour(name, value, colour, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv(name, value)
    output = Terminal()
    completion.complete(Fake(), io.StringIO("a\n"), output, io.StringIO())
    assert ("\x1b" in output.getvalue()) is colour


# In a separate process


def driver(model, before=""):
    """Returns the source of a program that uses one of the models above."""
    fakes = "\n".join(map(inspect.getsource, (Fake, Slow, Stuck)))
    return (
        f"import itertools, signal, sys, time\nfrom textgen.cli import completion\n"
        f"from textgen.text.unknown import UnknownSymbolsError\n"
        f"{fakes}\n{before}\n"
        f"sys.exit(completion.complete({model.__name__}()))"
    )


def environment(**variables):
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("COLUMNS", "LINES", "NO_COLOR", "TERM", "PYTHONUNBUFFERED")
    }
    root = str(Path(completion.__file__).parents[2])
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        "PYTHONUTF8": "1",
        "TERM": "xterm",
        **variables,
    }


def test_pipes_of_a_process():
    done = subprocess.run(
        [sys.executable, "-c", driver(Fake)],
        input="/seed 5\nÄ \né\n/again\n".encode() + b"\xff\n",
        capture_output=True,
        timeout=TIMEOUT,
        env=environment(),
    )
    assert done.returncode == 2
    # A byte that is not UTF-8 becomes a symbol, which a model may not know.
    expected = [poem("Ä ", 5), poem("Ä ", 5), poem("�", 5)]
    assert done.stdout.decode() == "\n".join(expected)
    assert done.stderr.decode().splitlines() == [
        "seed 5",
        "textgen complete: line 3: Not in the vocabulary of 20 symbols: 'é' at "
        f"position 0. {completion.UNKNOWN_REMEDY}",
        "seed 5",
    ]


def test_a_poem_appears_in_a_pipe_before_the_next_line_is_typed():
    with subprocess.Popen(
        [sys.executable, "-c", driver(Fake)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    ) as process:
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        for beginning in (b"a", b"b"):
            process.stdin.write(beginning + b"\n")
            process.stdin.flush()
            while (line := process.stdout.readline()) == b"\n":
                pass
            assert line == beginning + b" one\n"
            assert process.stdout.readline() == b"two three None.\n"
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0
        watchdog.cancel()


def test_neither_keras_nor_prompt_toolkit_is_loaded_for_a_pipe():
    code = (
        "import io, sys\nfrom textgen.cli import completion\n"
        "completion.complete(None, io.StringIO(''))\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        timeout=TIMEOUT,
        env=environment(),
        check=True,
    ).stdout.decode()
    assert not {"keras", "numpy", "prompt_toolkit"} & set(loaded.split())


# A pseudo-terminal

QUESTION = completion.QUESTION
CTRL_C, CTRL_D, UP, ENTER = "\x03", "\x04", "\x1b[A", "\r"
PASTE, END_OF_PASTE = "\x1b[200~", "\x1b[201~"


class Typist:
    """Types into a program in a pseudo-terminal, and reads what it shows."""

    # Only the controlling terminal of a process turns Ctrl-C into a signal.
    LEAD = (
        "import fcntl, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    )

    def __init__(self, model=Fake, before="", folder=None, **variables):
        import pty
        import termios

        self.terminal, inside = pty.openpty()
        # Otherwise Ctrl-C discards what is typed and shown at that moment.
        attributes = termios.tcgetattr(inside)
        attributes[3] |= termios.NOFLSH
        termios.tcsetattr(inside, termios.TCSANOW, attributes)
        self.process = subprocess.Popen(
            [sys.executable, "-c", driver(model, self.LEAD + before)],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            start_new_session=True,
            cwd=folder,
            env=environment(**variables),
        )
        os.close(inside)
        self.unread = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(TIMEOUT)
        os.close(self.terminal)

    def type(self, text):
        os.write(self.terminal, text.encode())

    def read(self, seconds):
        """Reads what comes within some seconds; returns `False` at the end."""
        if not select.select([self.terminal], [], [], seconds)[0]:
            return True
        try:
            shown = os.read(self.terminal, 65536)
        except OSError:  # EIO: the end, on Linux
            shown = b""
        self.unread += shown.decode(errors="replace").replace("\r\n", "\n")
        return bool(shown)

    def see(self, text, seconds=TIMEOUT):
        """Waits for a text; returns all that was shown before it."""
        end = time.monotonic() + seconds
        while text not in self.unread:
            alive = self.read(0.1)
            assert text in self.unread or (alive and time.monotonic() < end), (
                f"{text!r} was not shown, but {self.unread!r}"
            )
        before, _, self.unread = self.unread.partition(text)
        return before

    def see_question(self, question=QUESTION):
        """Waits for a line to edit; returns what was shown after the one before."""
        # Bracketed paste is switched on before a line is edited, and off after it.
        before = self.see("\x1b[?2004h").rpartition("\x1b[?2004l")[2]
        self.see(question.rstrip())  # a space at its end is a movement of the cursor
        self.see("\x1b[?25h")
        return before

    def answer(self, line, question=QUESTION):
        """Waits for the question and types a line; returns the same."""
        before = self.see_question(question)
        self.type(line + ENTER)
        return before

    def leave(self):
        """Waits for the end; returns the exit code and what was shown last."""
        end = time.monotonic() + TIMEOUT
        while self.read(0.1):
            assert time.monotonic() < end, f"it did not end, after {self.unread!r}"
        return self.process.wait(TIMEOUT), self.unread


terminals = pytest.mark.skipif(
    not hasattr(os, "openpty"), reason="this system has no pseudo-terminals"
)


@terminals
def test_question_text_question():
    with Typist() as typist:
        shown = typist.answer("Shall I ")
        assert completion.GREETING in " ".join(shown.split())
        # The beginning is bold, and an empty line comes before the question.
        shown = typist.answer(r"a\nb")
        assert shown == "\x1b[1mShall I \x1b[0m one\ntwo three None.\n\n"
        assert "\x1b[1ma\nb\x1b[0m one\n" in typist.answer("")
        assert typist.answer("é") == poem() + "\n"
        shown = typist.see_question()
        assert shown.startswith("Not in the vocabulary of 20 symbols: 'é'")
        typist.type(CTRL_D)
        code, shown = typist.leave()
        assert code == 0
        assert "Traceback" not in shown
        assert shown.endswith("\n\x1b[J\x1b[?7h\x1b[0m\x1b[?12l\x1b[?25h\x1b[?2004l")


@terminals
def test_pasted_lines_are_one_beginning():
    with Typist() as typist:
        typist.see_question()
        typist.type(f"{PASTE}Shall I\r\ncompare\rthee{END_OF_PASTE}")
        typist.see("thee")
        typist.type(" to" + ENTER)
        # The arrow key brings all lines back.
        shown = typist.see_question()
        assert "\x1b[1mShall I\ncompare\nthee to\x1b[0m one\n" in shown
        typist.type(UP + "o" + ENTER)
        assert "\x1b[1mShall I\ncompare\nthee too\x1b[0m one\n" in typist.see_question()
        typist.type(CTRL_D)
        assert typist.leave()[0] == 0


@terminals
def test_tab_completes_a_command():
    with Typist() as typist:
        typist.see_question()
        typist.type("/te\t")
        typist.see("mperature")
        typist.type(" 0.5" + ENTER)
        assert typist.see_question() == "temperature 0.5\n"
        typist.type("/s\t")  # three commands, with their descriptions
        typist.see("/save")
        typist.see("/stop")
        typist.see("/seed")
        typist.type("eed 3" + ENTER)
        assert typist.see_question() == "seed 3\n"


@terminals
def test_question_at_a_terminal_with_texts_in_a_file(tmp_path):
    with Typist(
        before="sys.stdout = open('poems.txt', 'w')", folder=tmp_path
    ) as typist:
        typist.see(QUESTION)
        typist.type("a" + ENTER)
        assert "one" not in typist.see(QUESTION)
        assert (tmp_path / "poems.txt").read_text() == poem("a")  # without delay
        typist.type(CTRL_D)
        assert typist.leave()[0] == 0


@terminals
def test_ctrl_c_stops_the_text_and_not_the_program():
    with Typist(Slow) as typist:
        typist.answer("Sing")
        typist.see("Sing\x1b[0m la1 la2 la3")
        typist.type(CTRL_C)
        shown = typist.see_question()
        assert re.fullmatch(r"( la\d+)*(\^C)?( la\d+)*\n\n.*", shown, re.S), shown
        last = re.findall(r"la\d+", shown)
        typist.type("/more" + ENTER)
        # The text continues after what was shown.
        typist.see(f" {last[-1] if last else 'la3'}\x1b[0m la1 la2")
        typist.type(CTRL_C)
        typist.answer("/quit")
        assert typist.leave()[0] == 0


@terminals
def test_a_second_ctrl_c_stops_a_model_that_does_not_answer():
    with Typist(Stuck) as typist:
        typist.answer("stuck")
        typist.see("computing")
        typist.type(CTRL_C)
        with pytest.raises(AssertionError):
            typist.see("\x1b[?2004h", seconds=0.5)  # the first waits for the model
        typist.type(CTRL_C)
        assert typist.answer("a").endswith("^C\n")  # the question is on a new line
        typist.see("a\x1b[0m done\n")


@terminals
def test_ctrl_c_at_the_question_asks_again():
    with Typist() as typist:
        typist.see_question()
        typist.type("not this")
        typist.see("not this")
        typist.type(CTRL_C)
        typist.answer("that")
        typist.see("\x1b[1mthat\x1b[0m one")
        typist.see_question()
        typist.type(CTRL_C)
        typist.see_question()
        typist.type(CTRL_D)
        assert typist.leave()[0] == 0


@terminals
def test_again_more_undo_save_and_help(tmp_path):
    with Typist(folder=tmp_path) as typist:
        typist.answer("/seed 3")
        typist.answer("a")
        typist.see("a\x1b[0m one\ntwo three 3.")
        typist.answer("/again")
        typist.see("seed 4\n\x1b[1ma\x1b[0m one\ntwo three 4.\n\n")
        typist.answer("/more")
        typist.see("\x1b[1mtwo three 4.\x1b[0m one\ntwo three 5.\n\n")
        typist.answer("/save poem.txt")
        typist.see("saved poem.txt\n")
        typist.answer("/save poem.txt")
        typist.see("poem.txt exists")
        typist.answer("/undo")
        typist.see("undone: /more; the text now ends with\n  two three 4.\n")
        typist.answer("/what")
        typist.see("no command /what: /help")
        typist.answer("/help")
        assert "Tab" in typist.answer("exit")
        assert typist.leave()[0] == 0
    text = (tmp_path / "poem.txt").read_text()
    assert text == "a one\ntwo three 4. one\ntwo three 5.\n"


@terminals
@pytest.mark.parametrize("end", ["q" + ENTER, CTRL_C, CTRL_D])
def test_choosing_at_a_terminal(end):
    choice = "1 to 3, Enter for 1, q to end: "
    with Typist() as typist:
        typist.answer("/choose 3 x")
        shown = typist.answer("2", choice)
        assert "1 a 50.0%   2 ␣ 25.0%   3 ⏎ 20.0%\n" in shown
        assert typist.answer("9", choice).startswith("x \n")
        message = "'9' is not a number from 1 to 3"
        assert typist.answer("", choice).startswith(message)
        typist.see_question(choice)
        typist.type(end)
        typist.see("\x1b[1mx\x1b[0m a\n\n")
        typist.answer("/more")
        typist.see("x a\x1b[0m one")
        typist.see_question()
        typist.type(CTRL_D)
        assert typist.leave()[0] == 0


@terminals
def test_arrow_up_brings_back_the_last_beginning_and_no_choice():
    with Typist() as typist:
        typist.answer("first")
        typist.answer("/choose 2 x")
        typist.answer("1", "end: ")
        typist.see_question("end: ")
        typist.type(CTRL_D)
        typist.see_question()
        typist.type(UP + UP + ENTER)
        typist.see("\x1b[1mfirst\x1b[0m one")


@terminals
def test_no_colour_if_it_is_switched_off():
    with Typist(NO_COLOR="1") as typist:
        typist.answer("a")
        assert typist.see_question() == poem("a") + "\n"


@terminals
@pytest.mark.parametrize(
    ("variables", "before", "shown"),
    [
        ({"TERM": "dumb"}, "", "\na one\ntwo three None.\n\n"),
        ({"TERM": "unknown"}, "", "\na one\ntwo three None.\n\n"),
        (
            {},
            "sys.modules['prompt_toolkit'] = None\n",
            "\n\x1b[1ma\x1b[0m one\ntwo three None.\n\n",
        ),
    ],
)
def test_plain_reading_without_prompt_toolkit(variables, before, shown):
    with Typist(before="import sys\n" + before, **variables) as typist:
        typist.see(QUESTION)
        typist.type("a" + ENTER)
        assert typist.see(QUESTION).endswith(shown)
        typist.type(CTRL_C)
        typist.see("^C\n" + QUESTION)
        typist.type(CTRL_D)
        code, shown = typist.leave()
        assert (code, shown) == (0, "\n")


def test_label_command():
    model = Fake()
    lines = ['/label poe "keats b"', "a", "/label pope", "/label", "b"]
    code, _, errors = pipe(*lines, model=model)
    assert code == 2
    assert model.labels == [["poe", "keats b"], None]
    assert 'label "poe" "keats b"' in errors
    assert "no label 'pope'" in errors
    assert "label: none" in errors


def test_label_argument():
    model = Fake()
    pipe("a", model=model, label=["poe"])
    assert model.labels == [["poe"]]
    with pytest.raises(ValueError, match="no label 'pope'"):
        pipe("a", label=["pope"])
