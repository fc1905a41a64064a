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

TIMEOUT = 30  # seconds, for what takes a tenth of one on an idle machine


class Fake:
    """Writes ` one two three.`, then its seed; knows no é."""

    def __init__(self):
        self.calls = []

    def stream(
        self, prompt, max_new_tokens, temperature, *, max_lines, seed, echo, unknown
    ):
        self.calls.append((prompt, max_new_tokens, temperature, max_lines, seed))
        assert echo is False
        assert len(self.calls) < 100, "the end of the input is not seen"
        if "é" in prompt and unknown is None:
            raise ValueError("The symbol 'é' is\nunknown.")
        if "huge" in prompt:
            raise MemoryError
        yield from (" one", "\ntwo", " three", f" {seed}.")

    def next_symbols(self, text, count, *, unknown):
        if "é" in text and unknown is None:
            raise ValueError("The symbol 'é' is unknown.")
        assert len(text) < 100, "the end of the input is not seen"
        found = [("a", 0.5), (" ", 0.25), ("\n", 0.2), ("\t", 0.05)]
        return found[:count]


class Slow(Fake):
    """Goes on and on."""

    def stream(self, prompt, *_, **__):
        for number in itertools.count(1):
            yield f" la{number}"
            time.sleep(0.02)


class Stuck(Fake):
    """Thinks for a minute before the first symbol."""

    def stream(self, prompt, *_, **__):
        if "stuck" in prompt:
            print("thinking", flush=True)
            time.sleep(60)
        yield " done"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def pipe(*lines, model=None, **settings):
    """Completes lines of a pipe; returns the exit code, output and errors."""
    output, errors = io.StringIO(), io.StringIO()
    text = "".join(line + "\n" for line in lines)
    code = completion.complete(
        model or Fake(), io.StringIO(text), output, errors, **settings
    )
    return code, output.getvalue(), errors.getvalue()


def calls(*lines, **settings):
    """What the model is asked for by lines that must hold no mistake."""
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
def test_bad_settings_are_told_at_once(settings, message):
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
        ("/seed", 4, None, "no seed: another text every time"),
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
    ("line", "words"),
    [
        ("/temperature warm", ["temperature warm", "/temperature 0.5"]),
        ("/temperature -1", ["temperature -1", "/temperature 0.5"]),
        ("/temperature 0,5", ["temperature 0,5", "/temperature 0.5"]),
        ("/temperature 1 nan", ["temperature nan", "/temperature 0.5"]),
        ("/temperature inf", ["temperature inf", "/temperature 0.5"]),
        ("/lines -1", ["lines -1", "from 0 up"]),
        ("/lines 1.5", ["lines 1.5", "from 0 up"]),
        ("/length 0", ["length 0", "from 1 up"]),
        ("/length long", ["length long", "from 1 up"]),
        ("/seed -3", ["seed -3", "from 0 up"]),
        ("/seed x y", ["seed x y", "from 0 up"]),
        ("/choose 0", ["choose 0", "from 1 up"]),
        ("/choose Shall I", ["choose Shall", "/choose 5"]),
        ("/choose 2 é", ["The symbol 'é' is unknown."]),
        ("/verse", ["/verse", "/help", "//verse"]),
        ("/", ["/help", "//"]),
        ("/seed3", ["/seed3", "/help"]),
        ("/more 3", ["/more", "'3'"]),
        ("/again Shall I", ["/again", "'Shall I'"]),
        ("/save", ["/save poem.txt"]),
        ("é", ["The symbol 'é' is unknown."]),
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


@pytest.mark.parametrize("line", ["/again", "/more", "/save poem.txt"])
def test_commands_that_need_a_text(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output, errors = pipe(line)
    assert (code, output) == (2, "")
    assert "There is no " in errors and "type" in errors
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


def test_save(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, output, errors = pipe("sünde", "/save my poem.txt ", "/more")
    assert (code, errors) == (0, "saved my poem.txt\n")
    assert Path("my poem.txt").read_bytes().decode() == poem("sünde")
    assert output.endswith("\n\ntwo three None. one\ntwo three None.\n")


def test_save_with_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert pipe("a", "/save ~/b.txt")[0] == 0
    assert (tmp_path / "b.txt").read_text() == poem("a")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("old.txt", "exists"),
        ("no/such/poem.txt", "No such file"),
        ("~no-such-user/poem.txt", "another name"),
        (".", "another name"),
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


def test_help_lists_every_command():
    code, output, errors = pipe("/help")
    assert (code, output) == (0, "")
    for name in completion.Session.COMMANDS:
        assert re.search(rf"^{name}\b", errors, re.M)
    assert "//" in errors and r"\n" in errors
    assert max(map(len, errors.splitlines())) <= 88


def test_quit():
    assert pipe("a", "/quit", "b")[:2] == (0, poem("a"))


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
    assert message.startswith(f"textgen complete: line 2: {answer!r} is no number")
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

        def next_symbols(text, count, unknown):
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


# Terminals on one side only, colours


def test_a_terminal_to_type_in_with_poems_in_a_file(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    output, errors = io.StringIO(), Terminal()
    code = completion.complete(Fake(), Terminal("a\n/x\nb\n"), output, errors)
    assert code == 0  # whoever types sees the mistake
    assert output.getvalue() == poem("a") + "\n" + poem("b")
    assert errors.getvalue().count(completion.QUESTION) == 4
    assert "no command /x" in errors.getvalue()


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


# A process of its own


def driver(model, before=""):
    """The source of a program that completes with one of the models above."""
    fakes = "\n".join(map(inspect.getsource, (Fake, Slow, Stuck)))
    return (
        f"import itertools, signal, sys, time\nfrom textgen.cli import completion\n"
        f"{fakes}\n{before}\n"
        f"sys.exit(completion.complete({model.__name__}()))"
    )


def environment(**variables):
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "TERM", "INPUTRC", "PYTHONUNBUFFERED")
    }
    root = str(Path(completion.__file__).parents[2])
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        "PYTHONUTF8": "1",
        "TERM": "xterm",
        "INPUTRC": os.devnull,
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
    # A byte that is no UTF-8 becomes a symbol, which a model may not know.
    expected = [poem("Ä ", 5), poem("Ä ", 5), poem("�", 5)]
    assert done.stdout.decode() == "\n".join(expected)
    assert done.stderr.decode().splitlines() == [
        "seed 5",
        "textgen complete: line 3: The symbol 'é' is unknown.",
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


def test_neither_keras_nor_readline_is_loaded_for_a_pipe():
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
    assert not {"keras", "numpy", "readline"} & set(loaded.split())


# A pseudo-terminal

QUESTION = completion.QUESTION
CTRL_C, CTRL_D, UP, ENTER = "\x03", "\x04", "\x1b[A", "\r"


class Typist:
    """Types into a program in a pseudo-terminal, and reads what it shows."""

    # A terminal that a leader of a session opens becomes its controlling one, which
    # is what turns Ctrl-C into a signal.
    LEAD = (
        "import fcntl, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    )

    def __init__(self, model=Fake, before="", folder=None, **variables):
        import pty
        import termios

        self.terminal, inside = pty.openpty()
        # Else Ctrl-C throws away what is typed and shown in that moment.
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
        """Reads what is there within some seconds; `False` at the end of it all."""
        if not select.select([self.terminal], [], [], seconds)[0]:
            return True
        try:
            shown = os.read(self.terminal, 65536)
        except OSError:  # EIO, which Linux has for an end
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

    def interrupt_until(self, text):
        """Types Ctrl-C, and now and then once more, until a text is shown.

        A signal that comes just before Python's readline begins to wait for a key is
        acted on at the next key or signal.
        """
        end = time.monotonic() + TIMEOUT
        while text not in self.unread and time.monotonic() < end:
            time.sleep(0.05)
            self.type(CTRL_C)
            soon = time.monotonic() + 1
            while text not in self.unread and time.monotonic() < soon:
                assert self.read(0.1), f"it ended, after {self.unread!r}"
        return self.see(text)

    def leave(self):
        """Waits for the end; returns the exit code and what was shown last."""
        end = time.monotonic() + TIMEOUT
        while self.read(0.1):
            assert time.monotonic() < end, f"it goes on, after {self.unread!r}"
        return self.process.wait(TIMEOUT), self.unread


terminals = pytest.mark.skipif(
    not hasattr(os, "openpty"), reason="there are no pseudo-terminals here"
)


@terminals
def test_question_poem_question():
    with Typist() as typist:
        assert completion.GREETING in typist.see(QUESTION)
        typist.type("Shall I " + ENTER)
        shown = typist.see(QUESTION)
        # The beginning is bold, and an empty line comes before the question.
        assert "\x1b[1mShall I \x1b[0m one\ntwo three None.\n\n" in shown
        typist.type(r"a\nb" + ENTER)
        assert "\x1b[1ma\nb\x1b[0m one\n" in typist.see(QUESTION)
        typist.type(ENTER)
        assert poem() in typist.see(QUESTION)
        typist.type("é" + ENTER)
        assert "\nThe symbol 'é' is unknown.\n" in typist.see(QUESTION)
        typist.type(CTRL_D)
        code, shown = typist.leave()
        assert code == 0
        assert "Traceback" not in shown
        assert shown.endswith("\n")


@terminals
def test_question_at_a_terminal_with_poems_in_a_file(tmp_path):
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
def test_ctrl_c_stops_the_poem_and_not_the_program():
    with Typist(Slow) as typist:
        typist.see(QUESTION)
        typist.type("Sing" + ENTER)
        typist.see("Sing\x1b[0m la1 la2 la3")
        typist.type(CTRL_C)
        shown = typist.see(QUESTION)
        assert re.fullmatch(r"( la\d+)*(\^C)?( la\d+)*\n\n.*", shown, re.S), shown
        last = re.findall(r"la\d+", shown)
        typist.type("/more" + ENTER)
        # It goes on with what was shown.
        typist.see(f" {last[-1] if last else 'la3'}\x1b[0m la1 la2")
        typist.type(CTRL_C)
        typist.see(QUESTION)
        typist.type("/quit" + ENTER)
        assert typist.leave()[0] == 0


@terminals
def test_a_second_ctrl_c_stops_a_model_that_does_not_answer():
    with Typist(Stuck) as typist:
        typist.see(QUESTION)
        typist.type("stuck" + ENTER)
        typist.see("thinking")
        typist.type(CTRL_C)
        with pytest.raises(AssertionError):
            typist.see(QUESTION, seconds=0.5)  # the first waits for the model
        typist.interrupt_until(QUESTION)
        typist.type("a" + ENTER)
        typist.see("a\x1b[0m done\n")


@terminals
def test_ctrl_c_at_the_question_asks_again():
    with Typist() as typist:
        typist.see(QUESTION)
        typist.type("not this")
        typist.see("not this")
        assert "\n" in typist.interrupt_until(QUESTION)
        typist.type("that" + ENTER)
        typist.see("\x1b[1mthat\x1b[0m one")
        typist.see(QUESTION)
        typist.interrupt_until(QUESTION)
        typist.type(CTRL_D)
        assert typist.leave()[0] == 0


@terminals
def test_again_more_save_and_help(tmp_path):
    with Typist(folder=tmp_path) as typist:

        def say(line):
            typist.see(QUESTION)
            typist.type(line + ENTER)

        say("/seed 3")
        say("a")
        typist.see("a\x1b[0m one\ntwo three 3.")
        say("/again")
        typist.see("seed 4\n\x1b[1ma\x1b[0m one\ntwo three 4.\n\n")
        say("/more")
        typist.see("\x1b[1mtwo three 4.\x1b[0m one\ntwo three 5.\n\n")
        say("/save poem.txt")
        typist.see("saved poem.txt\n")
        say("/save poem.txt")
        typist.see("poem.txt exists")
        say("/what")
        typist.see("no command /what: /help")
        say("/help")
        typist.see("/quit ")
        say("/quit")
        assert typist.leave()[0] == 0
    text = (tmp_path / "poem.txt").read_text()
    assert text == "a one\ntwo three 4. one\ntwo three 5.\n"


@terminals
@pytest.mark.parametrize("end", ["q" + ENTER, CTRL_C, CTRL_D])
def test_choosing_at_a_terminal(end):
    choice = "1 to 3, Enter for 1, q to end: "
    with Typist() as typist:
        typist.see(QUESTION)
        typist.type("/choose 3 x" + ENTER)
        assert "1 a 50.0%   2 ␣ 25.0%   3 ⏎ 20.0%\n" in typist.see(choice)
        typist.type("2" + ENTER)
        assert "\nx \n" in typist.see(choice)
        typist.type("9" + ENTER)
        assert "'9' is no number from 1 to 3" in typist.see(choice)
        typist.type(ENTER)
        typist.see(choice)
        poem = "\x1b[1mx\x1b[0m a\n\n"
        if end == CTRL_C:
            typist.interrupt_until(poem)
        else:
            typist.type(end)
            typist.see(poem)
        typist.see(QUESTION)
        typist.type("/more" + ENTER)
        typist.see("x a\x1b[0m one")
        typist.see(QUESTION)
        typist.type(CTRL_D)
        assert typist.leave()[0] == 0


@terminals
@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_it_is_not_wanted(variables):
    with Typist(**variables) as typist:
        typist.see(QUESTION)
        typist.type("a" + ENTER)
        shown = typist.see(QUESTION)
        assert "\na one\ntwo three None.\n" in shown
        assert "\x1b[1m" not in shown and "\x1b[0m" not in shown


@terminals
def test_arrow_up_brings_back_the_last_beginning_and_no_choice():
    pytest.importorskip("readline")
    with Typist() as typist:
        typist.see(QUESTION)
        typist.type("first" + ENTER)
        typist.see(QUESTION)
        typist.type("/choose 2 x" + ENTER)
        typist.see("end: ")
        typist.type("1" + ENTER)
        typist.see("end: ")
        typist.type(CTRL_D)
        typist.see(QUESTION)
        typist.type(UP + UP + ENTER)
        typist.see("\x1b[1mfirst\x1b[0m one")


@terminals
def test_without_readline():
    before = "import sys\nsys.modules['readline'] = None\n"
    with Typist(before=before) as typist:
        typist.see(QUESTION)
        typist.type("a" + ENTER)
        assert "\x1b[1ma\x1b[0m one" in typist.see(QUESTION)
        typist.interrupt_until(QUESTION)
        typist.type(CTRL_D)
        assert typist.leave()[0] == 0
