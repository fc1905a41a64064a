"""Many texts of `textgen generate`, and outputs that are continued after a stop.

Most tests replace the model by a function of the number of a text.
"""

import contextlib
import errno
import itertools
import json
import os
import pathlib
import random
import re
import shlex
import signal
import subprocess
import sys
import time
import weakref

import pytest
from command_line import run

import textgen
from textgen import files
from textgen.cli import main, many

pytestmark = pytest.mark.usefixtures("text_file")

LINE = "-" * 20
PART = pathlib.Path("out.txt.part")
OUTPUT = pathlib.Path("out.txt")


def text(number):
    """Short and long texts, with quotes, other alphabets, and several lines."""
    return f'"{number}" \\é→\u2028\n' * (number % 4) + f"{number}"


def expected(count):
    return f"\n{LINE}\n".join(map(text, range(count))) + "\n"


def parsed(model_file, *options):
    """The parsed arguments of `textgen generate`, as `main` stores them."""
    argv = ["generate", str(model_file), "-o", "out.txt", *map(str, options)]
    arguments = main._parser().parse_args(argv)
    arguments.argv = argv
    return arguments


class Stopped(Exception):
    """Something that ends a run in the middle."""


def write(arguments, end=None):
    """Writes texts until `end`; returns the number of the first one."""
    starts = []

    def generate(start):
        starts.append(start)

        def texts():
            for number in range(start, arguments.count):
                if number == end:
                    raise Stopped
                yield text(number)

        return texts()

    with contextlib.suppress(Stopped):
        many.write(generate, arguments)
    return starts[0] if starts else None


def header_of(data):
    return data[: data.index(b"\n") + 1]


# === The output ===


@pytest.mark.parametrize("stop", [[], ["--stop", r"\n"]], ids=["lines", "line"])
def test_texts_are_those_of_generate(stop, model_file, capsys):
    options = ["--count", 128, "--seed", 1, "--max-new-tokens", 20, *stop]
    options += ["--prompt", "the ", "--top-k", 9, "--temperature", 2, "--no-echo"]
    assert run("generate", model_file, *options) == 0
    printed = capsys.readouterr()
    texts = textgen.load(model_file).generate(
        *("the ", 20, 2.0),
        **{"count": 128, "seed": 1, "top_k": 9, "echo": False},
        stop="\n" if stop else None,
    )
    between = "\n" if stop else f"\n{LINE}\n"
    assert printed.out == between.join(texts) + "\n"
    before = set(os.listdir())
    assert run("generate", model_file, *options, "-o", "out.txt") == 0
    assert capsys.readouterr() == ("", "")
    assert OUTPUT.read_text(encoding="utf-8") == printed.out
    assert set(os.listdir()) == before | {"out.txt"}


@pytest.mark.parametrize(
    ("texts", "output"),
    [
        (["a", "b", ""], "a\nb\n\n"),
        (["a\n", "\nb"], "a\n\n\nb\n"),
        (["a", "b\nc"], f"a\n{LINE}\nb\nc\n"),
        (["a"], "a\n"),
        ([], ""),
    ],
)
def test_line_between_texts_only_if_one_has_several_lines(texts, output):
    assert "".join(many.pieces_of(lambda: iter(texts))) == output


def test_every_kind_of_text_is_kept(model_file):
    texts = ["", "\ud800", "\x00\x1b\x85\u2028", '"\\n"', "\n", "é\r\n", "🦕"] * 10
    arguments = parsed(model_file, "--count", 70)
    many.write(lambda start: iter(texts), arguments)
    assert OUTPUT.read_bytes().decode() == (
        f"\n{LINE}\n".join(texts).replace("\ud800", "?") + "\n"
        if any("\n" in each.strip("\n") for each in texts)
        else "\n".join(texts).replace("\ud800", "?") + "\n"
    )


def test_memory_does_not_grow_with_the_number_of_texts(model_file):
    class Text(str):
        """A str that can be counted."""

    alive = weakref.WeakSet()
    most = []

    def generate(start):
        for number in range(64 * 10):
            one = Text(number)
            alive.add(one)
            most.append(len(alive))
            yield one

    for arguments in (parsed(model_file), parsed(model_file, "--output=")):
        arguments.count = 64 * 10
        most.clear()
        many.write(generate, arguments)
        assert 0 < max(most) <= 2 * 64


# === Stopping and resuming ===


def test_output_continues_after_a_stop_at_any_byte(model_file):
    arguments = parsed(model_file, "--count", 200)
    assert write(arguments, end=170) == 0
    assert not OUTPUT.exists()
    whole = PART.read_bytes()
    first = len(header_of(whole))
    assert whole.count(b"\n") == 1 + 128  # complete batches
    cuts = random.Random(0).sample(range(first, len(whole)), 40)
    for cut in (first, first + 1, len(whole) - 1, len(whole), *cuts):
        PART.write_bytes(whole[:cut])
        resumed = parsed(model_file, "--count", 200, "--resume")
        assert write(resumed) == whole[first:cut].count(b"\n")
        assert OUTPUT.read_bytes().decode() == expected(200)
        assert not PART.exists()
        assert resumed.seed == json.loads(header_of(whole))["seed"] == arguments.seed


@pytest.mark.parametrize(
    "tail",
    [b"\0" * 99, b'"a"', b'"a\n', b"3\n", b'"\xff"\n'],
    ids=["zeros", "no newline", "no quote", "number", "not UTF-8"],
)
def test_damaged_end_is_cut_off(tail, model_file):
    write(parsed(model_file, "--count", 100), end=70)
    whole = PART.read_bytes()
    PART.write_bytes(whole + tail + whole[-9:])
    assert write(parsed(model_file, "--count", 100, "--resume"), end=70) == 64
    assert PART.read_bytes() == whole


def test_stops_follow_each_other_and_the_count_may_change(model_file):
    write(parsed(model_file, "--count", 999), end=64)
    assert write(parsed(model_file, "--count", 999, "--resume"), end=130) == 64
    # The next batch starts at text 128.
    assert write(parsed(model_file, "--count", 300, "--resume"), end=192) == 128
    assert write(parsed(model_file, "--count", 300, "--resume"), end=192) == 192
    assert write(parsed(model_file, "--count", 150, "--resume")) is None
    assert OUTPUT.read_bytes().decode() == expected(150)


def test_cut_options_are_refused(model_file):
    write(parsed(model_file, "--count", 100), end=70)
    first = header_of(PART.read_bytes())
    for data in (b"", first[:50], first[:-2], b"[" * 9999, b"{}\n", b"\xff\n"):
        PART.write_bytes(data)
        for option in ("--resume", "--overwrite"):
            with pytest.raises(ValueError, match=r"out\.txt\.part is not an unfinish"):
                write(parsed(model_file, "--count", 100, option))
            assert PART.read_bytes() == data


OTHERS = {
    "weights": [2.0],
    "prompt": "it's",
    "temperature": [0.5, 1.0],
    "max_new_tokens": 9,
    "max_lines": 2,
    "stop": ["."],
    "seed": 7,
    "unknown": "skip",
    "label": ["Poe"],
    "no_echo": True,
    "forbid": "x",
    "top_k": 3,
    "top_p": 0.5,
    "min_p": 0.1,
    "typical_p": 0.2,
    "repetition_penalty": 1.5,
}


def test_every_option_that_changes_the_texts_is_compared(model_file):
    known = set(vars(parsed(model_file)))
    same = {"count", "output", "resume", "overwrite", "models", "argv"}
    same |= {"run", "parser", "command"}
    assert set(OTHERS) == known - same - {"novel", "num_beams", "length_penalty"}


@pytest.mark.parametrize("name", OTHERS)
def test_resume_with_another_option_is_refused(name, model_file):
    write(parsed(model_file, "--count", 100, "--seed", 3), end=70)
    before = PART.read_bytes()
    resumed = parsed(model_file, "--count", 100, "--seed", 3, "--resume")
    was = getattr(resumed, name)
    setattr(resumed, name, OTHERS[name])
    option = "--" + name.replace("_", "-")
    values = {
        "prompt": shlex.quote(OTHERS["prompt"]),
        "no_echo": None,
        "temperature": "0.5 1.0",
    }
    value = values.get(name, str(OTHERS[name]).strip("[]'"))
    given = option if value is None else f"{option} {value}"
    old = {"temperature": f"{option} 0.7", "seed": f"{option} 3"}
    old = old.get(name, f"no {option}")
    assert was in (None, False, "", 3, [0.7])
    with pytest.raises(ValueError, match="generated with") as caught:
        write(resumed)
    assert f"generated with {old}, and cannot continue with {given}: " in str(
        caught.value
    )
    assert PART.read_bytes() == before


def test_resume_with_another_model_is_refused(model_file):
    write(parsed(model_file, "--count", 100), end=70)
    copy, other = pathlib.Path("copy.keras"), pathlib.Path("other.keras")
    copy.write_bytes(pathlib.Path(model_file).read_bytes())
    other.write_bytes(b"weights")
    for models in (["other.keras"], ["copy.keras", "copy.keras"]):
        resumed = parsed(model_file, "--count", 100, "--resume")
        resumed.models = models
        with pytest.raises(ValueError, match=f"another model file than {models[0]}"):
            write(resumed)
    resumed.models = ["copy.keras"]
    assert write(resumed) == 64
    assert OUTPUT.read_bytes().decode() == expected(100)


def test_existing_files_need_a_decision(model_file, capsys):
    write(parsed(model_file, "--count", 100), end=70)
    command = ["generate", model_file, "--count", 100, "-o", "out.txt"]
    before = PART.read_bytes()
    assert run(*command) == 2
    assert re.search("out.txt.part .*--resume .*--overwrite", capsys.readouterr().err)
    assert PART.read_bytes() == before
    assert write(parsed(model_file, "--count", 90, "--overwrite")) == 0
    assert OUTPUT.read_bytes().decode() == expected(90)
    assert run(*command, "--resume") == 2
    assert "out.txt.part does not exist" in capsys.readouterr().err
    assert run(*command) == 2
    assert "--output out.txt exists: use --overwrite" in capsys.readouterr().err
    assert run(*command[:2], "-o", "out.txt", "--overwrite", "--seed", 1) == 0
    whole = textgen.load(model_file).generate(seed=1, temperature=0.7) + "\n"
    assert OUTPUT.read_text(encoding="utf-8") == whole


def test_file_that_another_program_has_just_created_is_kept(model_file):
    arguments = parsed(model_file, "--count", 100)

    def generate(start):
        OUTPUT.write_text("precious")
        return map(text, range(start, 100))

    with pytest.raises(OSError, match=r"out.txt has just been created: move it. The f"):
        many.write(generate, arguments)
    assert OUTPUT.read_text() == "precious"
    assert PART.exists()


def test_second_run_is_refused(model_file, capsys):
    lock = files.Lock(".out.txt.lock", "The output")
    command = ["generate", model_file, "--count", 100, "-o", "out.txt"]
    assert run(*command) == 2
    error = capsys.readouterr().err
    assert f"--output out.txt is in use by another run (process {os.getpid()})" in error
    lock.release()


@pytest.mark.parametrize("place", ["part", "output"])
def test_full_disk_loses_nothing(place, model_file, monkeypatch):
    append, replace, batches = many.Records.append, os.replace, itertools.count()

    def full():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def appending(self, texts):
        if place == "part" and next(batches) == 2:
            full()
        append(self, texts)

    def replacing(source, target):
        if place == "output" and str(target).endswith("out.txt"):
            full()
        replace(source, target)

    file, kept = ("out.txt.part", 128) if place == "part" else ("out.txt", 200)
    message = (
        rf"^{file} cannot be written: No space left on device\. The first {kept} texts "
        r"are in out\.txt\.part\. To continue: textgen generate .* --resume$"
    )
    with monkeypatch.context() as patch:
        patch.setattr(many.Records, "append", appending)
        patch.setattr(os, "replace", replacing)
        with pytest.raises(OSError, match=message):
            write(parsed(model_file, "--count", 200))
    assert set(os.listdir()) == {"text.txt", "out.txt.part"}
    resumed = write(parsed(model_file, "--count", 200, "--resume"))
    assert resumed == (128 if place == "part" else None)
    assert OUTPUT.read_bytes().decode() == expected(200)


def test_signal_says_how_to_continue(model_file):
    options = ["--count", "100000", "--max-new-tokens", "5", "-o", "out.txt"]
    process = subprocess.Popen(
        [sys.executable, "-m", "textgen", "generate", str(model_file), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while process.poll() is None:
        if PART.exists() and PART.read_bytes().count(b"\n") > 200:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM
    out, error = process.stdout.read(), process.stderr.read().decode()
    found = re.fullmatch(
        r"\nStopped after ([\d,]+) of 100,000 texts. To continue: textgen (.*)\n", error
    )
    assert found, error
    assert out == b""
    assert set(os.listdir()) == {"text.txt", "out.txt.part"}
    data = PART.read_bytes()
    done = int(found[1].replace(",", ""))
    assert 0 < done <= data.count(b"\n") - 1
    command = shlex.split(found[2])
    assert command == ["generate", str(model_file), *options, "--resume"]
    command[command.index("100000")] = str(done + 70)
    assert run(*command) == 0
    texts = textgen.load(model_file).generate_many(
        "", 5, 0.7, count=done + 70, seed=json.loads(header_of(data))["seed"]
    )
    written = OUTPUT.read_text(encoding="utf-8").split(f"\n{LINE}\n")
    assert [*written[:-1], written[-1][:-1]] == list(texts)
