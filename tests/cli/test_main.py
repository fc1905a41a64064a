"""The command line as a whole: help, exit codes, errors, pipes."""

import contextlib
import errno
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

import pytest
from command_line import TRAIN, run

import textgen
from textgen.cli import generate, streams, writing
from textgen.cli.options import Parser
from textgen.decoding.defaults import TEMPERATURE
from textgen.text.unknown import UnknownSymbolsError

pytestmark = pytest.mark.usefixtures("text_file")


def test_nothing_typed_shows_the_help(capsys):
    assert run() == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: textgen")
    assert "generate" in printed.out


@pytest.mark.parametrize(
    "command",
    ["train", "prepare", "generate", "complete", "evaluate", "list", "info", "convert"],
)
def test_help_explains_what_it_says(command, capsys):
    assert run(command, "--help") == 0
    page = capsys.readouterr().out
    assert page.startswith(f"usage: textgen {command} ")
    if re.search("tokens?", page):
        plain = " ".join(page.split())
        assert re.search("token is(: a| a) character[,;]", plain)
        assert "a word" in plain
    assert "symbols" not in page.replace("symbols of the", "")
    assert "default: [" not in page
    assert "default: )" not in page
    if command in ("generate", "complete"):
        assert f"(default: {TEMPERATURE})" in page


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["train", "a.txt", "--lines", "b.txt"], "too many: b.txt.*each other"),
        (["train", "a.txt", "--learning-rat3", "1"], "mean --learning-rate"),
        (["generate", "m.keras", "--temprature=1"], "mean --temperature"),
        (["info", "m.keras", "--zzz"], "no option --zzz \\(see textgen info --help"),
    ],
)
def test_mistyped_arguments_get_a_hint(arguments, hint, capsys):
    assert run(*arguments) == 2
    assert re.search(hint, capsys.readouterr().err)


def test_unknown_model_names_those_there_are(capsys):
    assert run("generate", "nosuch") == 2
    error = capsys.readouterr().err
    assert all(name in error for name in textgen.PRETRAINED)


def test_weights_file_is_called_what_it_is(capsys):
    pathlib.Path("a.weights.h5").write_bytes(b"\x89HDF")
    assert run("generate", "a.weights.h5") == 2
    assert "contains weights only, as written by Keras" in capsys.readouterr().err


BAD = {
    "no corpus": ["train"],
    "unknown option": ["train", "text.txt", "--nope"],
    "missing file": ["train", "nope.txt"],
    "empty folder": ["train", "dir.keras"],
    "no file fits": ["train", "*.csv"],
    "input and a file": ["train", "text.txt", "-"],
    "one of several": ["train", "text.txt", "nope.txt"],
    "unknown encoding": ["train", "text.txt", "--encoding", "klingon"],
    "output suffix": ["train", "text.txt", "-o", "model.h5"],
    "output folder": ["train", "text.txt", "-o", "nope/model.keras"],
    "output exists": ["train", "text.txt", "-o", "there.keras"],
    "negative length of samples": ["train", "text.txt", "--max-new-tokens", "-1"],
    "no window": ["train", "text.txt", "--sequence-length", "0"],
    "no line length": ["train", "text.txt", "--lines", "--sequence-length", "0"],
    "no stride": ["train", "text.txt", "--sequence-stride", "0"],
    "folder of texts": ["generate", "MODEL", "-o", "nope/x"],
    "folder for a text": ["generate", "MODEL", "-o", "dir.keras"],
    "nothing to resume": ["train", "text.txt", "--resume"],
    "no epochs": ["train", "text.txt", "--epochs", "0"],
    "no units": ["train", "text.txt", "--units", "0"],
    "validation share": ["train", "text.txt", "--validation", "1"],
    "window too long": ["train", "text.txt", "--sequence-length", "5000"],
    "batch size": ["train", "text.txt", "--batch-size", "0"],
    "dropout": ["train", "text.txt", "--dropout", "1"],
    "learning rate": ["train", "text.txt", "--learning-rate", "nan"],
    "warm-up": ["train", "text.txt", "--warmup-steps", "-1"],
    "all warm-up": ["train", "text.txt", "--warmup-steps", "100000"],
    "decay": ["train", "text.txt", "--weight-decay", "-1"],
    "accumulation": ["train", "text.txt", "--gradient-accumulation-steps", "0"],
    "patience": ["train", "text.txt", "--early-stopping", "0"],
    "nothing to stop by": [
        *["train", "text.txt", "--early-stopping", "1", "--validation", "0"]
    ],
    "precision": ["train", "text.txt", "--precision", "float12"],
    "weight dropout": ["train", "text.txt", "--weight-dropout", "1"],
    "no model to describe": ["info", "text.txt"],
    "clipping": ["train", "text.txt", "--clip-value", "0"],
    "output is a folder": ["train", "text.txt", "-o", "dir.keras", "--overwrite"],
    "log exists": ["train", "text.txt", "--log", "text.txt"],
    "old file": ["generate", "old.h5"],
    "no number": ["train", "text.txt", "--dropout", "much"],
    "log folder": ["train", "text.txt", "--log", "nope/a.csv"],
    "both kinds": ["train", "text.txt", "--lines", "--many-to-many"],
    "no lines": ["train", "line.txt", "--lines"],
    "missing model": ["generate", "nope.keras"],
    "no model": ["generate", "text.txt"],
    "count": ["generate", "MODEL", "--count", "0"],
    "temperature": ["generate", "MODEL", "--temperature", "-1"],
    "tokens": ["generate", "MODEL", "--max-new-tokens", "-1"],
    "no length of a completion": ["complete", "MODEL", "--max-new-tokens", "0"],
    "stand-in": ["generate", "MODEL", "--unknown", "long"],
    "old model": ["convert", "text.txt", "new.keras", "--corpus", "text.txt"],
}


# What is typed, and the start of the message.
NAMED = {
    "generate MODEL --temperature -1": "--temperature -1.0 must be at least 0",
    "generate MODEL --temperature 1 nan": "--temperature nan must be at least 0",
    "generate MODEL --top-k 0": "--top-k 0 must be",
    "generate MODEL --top-p 2": "--top-p 2.0 must be",
    "generate MODEL --count 3 --num-beams 2": "--count 3 must .* --num-beams 2",
    "generate MODEL --num-beams 2 --novel text.txt": "--novel .* --num-beams",
    "generate MODEL MODEL --weights -1 2": "--weights -1.0 2.0 must be",
    "generate MODEL --unknown zz": "--unknown zz must be error, skip, or a symbol",
    "generate MODEL -o text.txt": "--output text.txt exists: use --overwrite",
    "generate MODEL --count 65 -o text.txt": "--output text.txt exists: use --over",
    "generate MODEL --resume -o new.txt": r"--resume: new.txt.part does not exist",
    "generate MODEL --resume": "--resume needs the --output",
    "generate MODEL --overwrite": "--overwrite needs the --output",
    "generate MODEL --resume -o a --novel text.txt": "--resume .* with --novel",
    "generate MODEL --resume -o a --num-beams 2": "--resume .* with --num-beams",
    "generate MODEL --count 1000001 --novel text.txt": "--count 1000001 must be at mo",
    "generate MODEL --count 1000000001": "--count 1000000001 must be at most",
    "generate MODEL --count 99 -o new.txt --prompt th→": "Not in .* '→' at position 2",
    "complete MODEL --max-new-tokens 0": "--max-new-tokens 0 must be at least 1",
    "complete MODEL --unknown zz": "--unknown zz must be error, skip, or a symbol",
    "train text.txt --encoding klingon": "--encoding klingon is not",
    "train text.txt --validation 1": "--validation 1.0 must be",
    "train text.txt --weight-dropout 1": "--weight-dropout 1.0 must be",
    "train text.txt --vocabulary-size 0": "--vocabulary-size 0 must be",
    "train text.txt --embedding -1": "--embedding -1 must be",
    "train text.txt --windows --tie-weights": "--tie-weights needs --embedding 128",
    "train text.txt --minutes 0": "--minutes 0.0 must be positive and at most",
    "train text.txt --minutes nan": "--minutes nan must be positive",
    "train text.txt --minutes 1 --schedule cosine": "--schedule needs --epochs",
    "train text.txt --clip-norm -1": "--clip-norm -1.0 must be positive and finite",
    "train text.txt --beta-2 1": "--beta-2 1.0 must be at least 0 and less than 1",
    "train text.txt --temperatures -1": "--temperatures -1.0 must be",
    "train text.txt --seed -1": "--seed -1 must be at least 0",
    "train text.txt --seed 4294967296": "--seed 4294967296 must be at most 4294967295",
    "train text.txt --prompt th→": "Not in .* '→' at position 2. Give another --prompt",
    "train text.txt --many-to-many --units 4 --batch-size 500": "The training part .* "
    "smaller --batch-size or --sequence-length",
    "train text.txt --resume": "--resume: the folder model.checkpoints does not",
    "train text.txt -o nope/a.keras": "--output nope/a.keras: the folder nope does not",
    "train text.txt --log text.txt": "--log text.txt exists: use --overwrite",
}


@pytest.mark.parametrize(("typed", "message"), NAMED.items(), ids=NAMED.keys())
def test_error_names_the_option(typed, message, model_file, untimed, capsys):
    arguments = [str(model_file) if each == "MODEL" else each for each in typed.split()]
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert re.match(f"textgen {arguments[0]}: error: {message}", error), error


def test_names_in_paths_and_quotes_are_not_options():
    parser = Parser()
    parser.add_argument("--batch-size")
    parser.add_argument("--count")
    message = "'batch_size', a/batch_size.txt, batch_size.txt, count: count=[1, 2] and "
    expected = message.replace("count=[1, 2]", "--count 1 2")
    assert parser.name_options(message + "batch_size.") == expected + "--batch-size."


@pytest.mark.parametrize("arguments", BAD.values(), ids=BAD.keys())
def test_bad_input_is_one_line(arguments, model_file, untimed, capsys):
    pathlib.Path("there.keras").write_text("precious")
    pathlib.Path("line.txt").write_text("one line " * 50)
    pathlib.Path("dir.keras").mkdir()
    pathlib.Path("old.h5").write_text("old")
    before = set(pathlib.Path().iterdir())
    arguments = [str(model_file) if each == "MODEL" else each for each in arguments]
    assert run(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("textgen")
    assert ": error: " in printed.err
    assert printed.err.count("\n") == 1
    assert set(pathlib.Path().iterdir()) == before
    assert pathlib.Path("there.keras").read_text() == "precious"


def test_own_error_shows_no_traceback(monkeypatch, capsys):
    def fail(arguments):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr(generate, "_generate", fail)
    assert run("generate", "a.keras") == 1
    error = capsys.readouterr().err
    assert error.startswith("textgen generate: error: RuntimeError: first second")
    assert error.count("\n") == 1


def test_messages_escape_control_characters(capsys, monkeypatch):
    def fail(arguments):
        raise failure

    monkeypatch.setattr(generate, "_generate", fail)
    failures = [
        ValueError,
        OSError,
        RuntimeError,
        lambda x: UnknownSymbolsError({x: 0}, 1),
    ]
    for kind in failures:
        failure = kind("\x1b[2J\x9b\r\n\x07" + "long " * 1000)
        assert run("generate", "a.keras") in (1, 2)
    assert run("generate", "a.keras", "--\x1b[2J") == 2
    assert run("generate\x1b[2J") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 6
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", printed.err)
    assert max(map(len, printed.err.split("\n"))) < 1300


def test_too_little_memory_is_no_error_of_the_program(capsys, monkeypatch):
    class ResourceExhaustedError(Exception):  # of TensorFlow
        pass

    class Other(ResourceExhaustedError):
        pass

    def fail(arguments):
        raise failure

    monkeypatch.setattr(generate, "_generate", fail)
    for kind in (MemoryError, ResourceExhaustedError, Other):
        failure = kind()
        assert run("generate", "a.keras") == 2
        assert (
            "error: The memory does not suffice. Use a sma" in capsys.readouterr().err
        )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--count", "--count 99999999999999999999 must be at most 1000000"),
        ("--max-new-tokens", "--max-new-tokens 9+ must be at most 100000000"),
        ("--top-k", "--top-k 9+ must be at most 2147483647"),
        ("--num-beams", "--num-beams 9+ must be at most 10000"),
        ("--max-lines", "--max-lines 9+ must be at most 1000000"),
    ],
)
def test_integers_have_a_maximum(option, message, model_file, capsys):
    assert run("generate", model_file, option, "9" * 20) == 2
    assert re.search(f"error: {message}", capsys.readouterr().err)


def test_a_seed_has_no_maximum(model_file, capsys):
    assert run("generate", model_file, "--seed", "9" * 20, "--max-new-tokens", 1) == 0


def test_two_hyphens_are_a_value(model_file, capsys):
    assert run("generate", model_file, "--prompt=--") == 2
    assert "'-' at position 0" in capsys.readouterr().err
    options = ["--unknown=skip", "--max-new-tokens", 3, "--seed", 0]
    assert run("generate", model_file, "--prompt=--", *options) == 0
    assert capsys.readouterr().out.startswith("--")
    assert run("generate", model_file, "--stop=--", *options) == 0
    assert run("generate", model_file, "--count=--") == 2
    assert "argument --count: invalid int value: '--'" in capsys.readouterr().err


# Standard streams


needs_full_disk = pytest.mark.skipif(
    not pathlib.Path("/dev/full").exists(), reason="this system has no /dev/full"
)


@contextlib.contextmanager
def full_disk():
    """Makes a full disk of standard output."""
    with open("/dev/full", "w") as stream, contextlib.redirect_stdout(stream):
        yield stream
        stream.flush()  # nothing is left to write, so nothing fails at exit


FULL = "textgen: error: standard output cannot be written: No space left on device.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["--help"],
        ["list", "--help"],
        ["--version"],
        [],
        ["info", "MODEL"],
        ["generate", "MODEL"],
    ],
)
@needs_full_disk
def test_full_disk_under_the_output(arguments, model_file, capfd):
    arguments = [str(model_file) if each == "MODEL" else each for each in arguments]
    with full_disk():
        assert run(*arguments) == 2
    assert capfd.readouterr().err == FULL


@needs_full_disk
def test_output_that_is_never_buffered(capfd):
    with full_disk() as stream:
        stream.reconfigure(write_through=True)
        assert run("--help") == 2
        assert run("list") == 0  # the error was reported
    assert capfd.readouterr().err == FULL


@needs_full_disk
def test_a_lasting_output_reports_a_full_disk_once(capfd):
    with full_disk(), streams.checked_output():
        with streams.lasting_output():
            for _ in range(3):
                print("text", flush=True)
        print("text", flush=True)
    warning = FULL.replace("error: ", "warning: ")
    assert capfd.readouterr().err == warning


@needs_full_disk
def test_messages_that_cannot_be_written():
    with full_disk() as stream, contextlib.redirect_stderr(stream):
        assert run("generate", "nosuch") == 2
    with full_disk() as stream, contextlib.redirect_stderr(stream):
        assert run("generate", "nosuch", "--nosuch") == 2


def test_streams_that_python_does_not_have(monkeypatch):
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert run("list") == 0
    assert run("generate", "nosuch") == 2
    assert run("evaluate", "nosuch", "-") == 2
    opened = sys.stdin, sys.stdout, sys.stderr
    assert all(stream.name == os.devnull for stream in opened)
    for stream in opened:
        stream.close()


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_of_a_process(closed):
    # What a file would get, if the number of a standard stream were free.
    code = (
        "import os, sys; from textgen.cli import main, inspect\n"
        "inspect._list = lambda _: None\n"
        "code = main.main(['list'])\n"
        "sys.exit(code or 10 + os.open(os.devnull, os.O_RDONLY))"
    )
    command = shlex.join([sys.executable, "-c", code])
    done = subprocess.run(f"{command} {closed}", shell=True, capture_output=True)
    assert done.returncode > 12
    assert (done.stdout, done.stderr) == (b"", b"")


# Ctrl-C

# A Keras whose import takes long, and hides what interrupts it.
SLOW = """
import os, time
os.write(1, b"importing\\n")
try:
    time.sleep(60)
except BaseException:
    raise ImportError("an extension module could not be imported")
"""


@pytest.mark.parametrize("command", ["generate", "complete", "info", "train"])
def test_ctrl_c_while_keras_is_imported(command, model_file):
    pathlib.Path("keras.py").write_text(SLOW)
    paths = {**os.environ, "PYTHONPATH": "."}
    file = "text.txt" if command == "train" else model_file
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "textgen", command, file],
        env=paths,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while process.stdout.readline() not in (b"importing\n", b""):
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    errors = process.stderr.read().strip().decode()
    assert re.fullmatch("Stopped.*" if command == "train" else "", errors), errors


def test_ctrl_c_while_a_text_is_generated(model_file):
    command = [sys.executable, "-m", "textgen", "generate", str(model_file)]
    process = subprocess.Popen(
        [*command, "--max-new-tokens", "10000000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.read(50)
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(timeout=30) == 130
    assert process.stderr.read() == b"\n"


def test_ctrl_c_that_is_ignored_stays_ignored():
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from textgen import __main__; sys.argv[1:] = ['--version']\n"
        "try: __main__.main()\n"
        "finally: assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_while_a_file_is_written_leaves_nothing(monkeypatch):
    def interrupted(*_):
        signal.raise_signal(signal.SIGINT)

    def leave(*_):
        pytest.fail("the process would have ended here")

    monkeypatch.setattr(os, "fsync", interrupted)
    before = signal.signal(signal.SIGINT, leave)
    try:
        with pytest.raises(KeyboardInterrupt):
            writing.write_new("new.txt", "text")
        assert signal.getsignal(signal.SIGINT) == leave
    finally:
        signal.signal(signal.SIGINT, before)
    assert set(os.listdir()) == {"text.txt"}


def test_new_files(monkeypatch):
    writing.write_new("new.txt", "é\ud800\n")
    assert pathlib.Path("new.txt").read_bytes() == "é?\n".encode()
    with pytest.raises(FileExistsError):
        writing.write_new("new.txt", "other")
    pathlib.Path("link.txt").symlink_to("target.txt")
    with pytest.raises(FileExistsError):
        writing.write_new("link.txt", "other")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"^a\.txt cannot be written: No space left on"):
        writing.write_new("a.txt", "text")
    assert set(os.listdir()) == {"text.txt", "new.txt", "link.txt"}


def test_closed_pipe_is_no_error(model_file):
    command = [sys.executable, "-m", "textgen", "generate", str(model_file)]
    process = subprocess.Popen(
        [*command, "--max-new-tokens", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.read(50)
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(timeout=60), errors) == (0, b"")


def test_training_outlives_the_reader_of_its_output():
    command = [sys.executable, "-u", "-m", "textgen", "train", "text.txt"]
    process = subprocess.Popen(
        [*command, "-o", "a.keras", *TRAIN, "--epochs", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"Reading text.txt\n"
    process.stdout.close()  # as `| head -1` does
    errors = process.stderr.read()
    assert (process.wait(timeout=120), errors) == (0, b"")
    assert (
        int(textgen.load("a.keras").optimizer.iterations) == 3 * 2
    )  # epochs and batches
