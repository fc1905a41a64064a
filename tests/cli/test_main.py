"""The command line as a whole: help, exit codes, errors, pipes."""

import pathlib
import re
import subprocess
import sys

import pytest
from command_line import TRAIN, run

import textgen
from textgen.cli import generate
from textgen.cli.options import Parser
from textgen.decoding.defaults import TEMPERATURE

pytestmark = pytest.mark.usefixtures("text_file")


def test_nothing_typed_shows_the_help(capsys):
    assert run() == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: textgen")
    assert "generate" in printed.out


@pytest.mark.parametrize(
    "command", ["train", "generate", "complete", "evaluate", "list", "info", "convert"]
)
def test_help_explains_what_it_says(command, capsys):
    assert run(command, "--help") == 0
    page = capsys.readouterr().out
    assert page.startswith(f"usage: textgen {command} ")
    if re.search("tokens?", page):
        plain = " ".join(page.split())
        assert re.search("token is(: a| a) character, or a word", plain)
    assert "symbols" not in page.replace("symbols of the", "")
    assert "default: [" not in page
    assert "default: )" not in page
    if command in ("generate", "complete"):
        assert f"(default: {TEMPERATURE})" in page


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["train", "a.txt", "b.txt"], "too many: b.txt.*cat a.txt b.txt"),
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
    "folder": ["train", "."],
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
    "generate MODEL -o text.txt": "--output text.txt exists: give another name",
    "complete MODEL --max-new-tokens 0": "--max-new-tokens 0 must be at least 1",
    "complete MODEL --unknown zz": "--unknown zz must be error, skip, or a symbol",
    "train text.txt --encoding klingon": "--encoding klingon is not",
    "train text.txt --validation 1": "--validation 1.0 must be",
    "train text.txt --weight-dropout 1": "--weight-dropout 1.0 must be",
    "train text.txt --vocabulary-size 0": "--vocabulary-size 0 must be",
    "train text.txt --embedding 0": "--embedding 0 must be",
    "train text.txt --tie-weights": "--tie-weights needs --embedding 128",
    "train text.txt --temperatures -1": "--temperatures -1.0 must be",
    "train text.txt --seed -1": "--seed -1 must be at least 0",
    "train text.txt --seed 4294967296": "--seed 4294967296 must be at most 4294967295",
    "train text.txt --prompt th→": "Not in .* '→' at position 2. Give another --prompt",
    "train text.txt --many-to-many --batch-size 500": "The training part .* "
    "smaller --batch-size or --sequence-length",
    "train text.txt --resume": "--resume: the folder model.checkpoints does not",
    "train text.txt -o nope/a.keras": "--output nope/a.keras: the folder nope does not",
    "train text.txt --log text.txt": "--log text.txt exists: use --overwrite",
}


@pytest.mark.parametrize(("typed", "message"), NAMED.items(), ids=NAMED.keys())
def test_error_names_the_option(typed, message, model_file, capsys):
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
def test_bad_input_is_one_line(arguments, model_file, capsys):
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
