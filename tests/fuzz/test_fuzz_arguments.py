"""Arguments of all commands: known options with any value, and anything else."""

import pytest
from fuzz_tools import check, contents, empty_folder, run, texts
from hypothesis import given
from hypothesis import strategies as st

from textgen.cli import main

# Small numbers, numbers beyond all limits, and what is no number. Numbers between them
# would only ask for hours or for all memory.
INTEGERS = st.sampled_from(
    [
        *("1", "2", "3", "4", "5", "7") * 6,
        *("0", "-1", "007", "1_0", "٣", " 5", "0x10", "1.5", "", "x"),
        *(str(2**31), str(2**32), str(2**63), "9" * 30, "-" + "9" * 30, "9" * 5000),
    ]
)
NUMBERS = st.sampled_from(
    [
        *("0.1", "0.25", "0.5", "0.9", "0.75", "0.01") * 6,
        *("0", "2", "-1", "nan", "inf", "-inf", "1e-400", "1e400", "-0.0", "1e308"),
        *("1e-300", "", "x", "1,5", "0x1p3", "١"),
    ]
)
CORPORA = st.sampled_from(
    [
        *("text.txt", "dinosaurs") * 20,
        *("empty.txt", "bytes.txt", "none.txt", "shakespeare", "-", ".", "", "a\0b"),
        *("x" * 5000, "half.keras", "/dev/null", "~nobody/x"),
    ]
)
MODELS = st.sampled_from(
    [
        *("sequence.keras", "window.keras", "words.keras") * 20,
        *("half.keras", "text.keras", "old.h5", "none.keras", "text.txt", ".", ""),
        *("\x1b", "/dev/null", "a\0b", "dinosaur", "x" * 5000),
    ]
)
OUTPUTS = st.sampled_from(
    [
        *("new.keras", "new.txt", "new.html") * 10,
        *("text.txt", ".", "", "none/new.keras", "/dev/full", "a\0b", "-", "~/x.keras"),
        *("x" * 300 + ".keras", "new\x1b.keras"),
    ]
)
ENCODINGS = st.sampled_from(
    [
        *("utf-8", "latin-1") * 10,
        *("utf-16", "ascii", "utf-7", "idna", "punycode", "hex", "zlib", "rot13"),
        *("unicode_escape", "undefined", "mbcs", "cp037", "", "a\0b", "é", "x" * 99),
    ]
)
KNOWN = st.one_of(st.text("the quick\n", max_size=9), texts)
BY_NAME = {
    "corpus": CORPORA,
    "novel": CORPORA,
    "models": MODELS,
    "model": MODELS,
    "second": MODELS,
    "output": OUTPUTS,
    "log": OUTPUTS,
    "samples": OUTPUTS,
    "tensorboard": OUTPUTS,
    "checkpoint": OUTPUTS,
    "encoding": ENCODINGS,
    "unknown": st.one_of(st.sampled_from(["error", "skip", "e"] * 3), texts),
    "prompt": KNOWN,
    "stop": KNOWN,
    "forbid": st.one_of(st.just("e"), texts),
    "every": st.one_of(
        INTEGERS, st.sampled_from(["1s", "0s", "nan s", "1e9h", "5min"])
    ),
}
FILES = ("text.txt", "empty.txt", "half.keras", "text.keras", "old.h5")
SMALL = ["--max-new-tokens", "3"]


def commands():
    """Returns the actions of each command, by its name."""
    [action] = main._parser()._subparsers._group_actions
    return {name: parser._actions for name, parser in action.choices.items()}


def values(action):
    """Returns a strategy of the values that follow an option."""
    if action.dest in BY_NAME:
        value = BY_NAME[action.dest]
    elif action.choices:
        value = st.one_of(st.sampled_from([*map(str, action.choices)]), texts)
    else:
        value = {int: INTEGERS, float: NUMBERS}.get(action.type, texts)
    if action.nargs == 0 or "BooleanOptional" in type(action).__name__:
        return st.just([])
    if action.dest == "models" and action.nargs == "+":  # a blend is compiled anew
        one, several = (
            st.lists(value, min_size=1, max_size=1),
            st.lists(value, max_size=3),
        )
        return st.integers(0, 19).flatmap(lambda n: one if n else several)
    if action.nargs == "+":
        return st.lists(value, min_size=1, max_size=3)
    return st.lists(value, min_size=1, max_size=1)


@st.composite
def typed(draw, command):
    """Draws the arguments of a command, most of which it knows."""
    actions = commands()[command]
    arguments = []
    for action in actions:
        if not action.option_strings:
            arguments += draw(values(action))
    options = [each for each in actions if each.option_strings and each.dest != "help"]
    if options:
        for action in draw(st.lists(st.sampled_from(options), max_size=5)):
            name = draw(st.sampled_from(action.option_strings))
            given = draw(values(action))
            if len(given) == 1 and draw(st.booleans()):
                arguments.append(f"{name}={given[0]}")
            else:
                arguments += [name, *given]
    if draw(st.integers(0, 19)) == 0:
        place = draw(st.integers(0, len(arguments)))
        arguments.insert(place, draw(texts))
    has_length = any(each.dest == "max_new_tokens" for each in options)
    return [command, *arguments, *SMALL * has_length]


def link(files, folder):
    """Puts the models and texts into the current folder."""
    for name in FILES:
        (folder / name).write_bytes((files / name).read_bytes())
    (folder / "bytes.txt").write_bytes(b"the\0\xff\xfe quick\r\n" * 20)


def located(files, arguments):
    """Returns the arguments with the paths of the models, which are loaded once."""
    names = ("sequence.keras", "window.keras", "words.keras")
    return [str(files / each) if each in names else each for each in arguments]


@pytest.mark.parametrize("command", sorted(commands()))
@given(data=st.data())
def test_any_value_of_any_option(command, files, data):
    arguments = located(files, data.draw(typed(command)))
    before = contents(files)
    with empty_folder() as folder:
        link(files, folder)
        texts_before = contents(folder)
        result = run(arguments, b"the quick\nfox\n/length 3\n")
        check(result, lines=None if command == "complete" else 1)
        after = contents(folder)
        if "--overwrite" not in arguments and "--resume" not in arguments:
            assert {name: after.get(name) for name in texts_before} == texts_before
        assert not [name for name in after if name.endswith(".tmp")], after.keys()
    assert contents(files) == before


EXTREMES = {
    int: [str(2**31), "9" * 30, "9" * 5000, "-1", "--", "x", ""],
    float: ["nan", "inf", "-inf", "-1", "1e400", "--", "x", ""],
}


@pytest.mark.parametrize("command", sorted(commands()))
def test_each_option_with_each_extreme_value(command, files):
    actions = commands()[command]
    places = {"corpus": "text.txt", "models": "sequence.keras", "model": "old.h5"}
    first = [
        places.get(each.dest, "new.keras")
        for each in actions
        if not each.option_strings
    ]
    first = [command, *located(files, first)]
    if command == "convert":
        first += ["--corpus", "text.txt"]
    with empty_folder() as folder:
        link(files, folder)
        for action in actions:
            texts = ["--", "", "\x1b[2J", "\udcff"] if action.nargs != 0 else []
            if action.dest == "help" or (command == "train" and action.type is None):
                texts = []  # most of them would be accepted, and take long
            for value in EXTREMES.get(action.type, texts):
                for name in action.option_strings[:1]:
                    result = run([*first, f"{name}={value}"], b"the \n")
                    check(result, lines=None if command == "complete" else 1)


@given(st.lists(texts, max_size=6))
def test_any_arguments(arguments):
    with empty_folder() as folder:
        check(run(arguments), codes=(0, 2))
        assert not contents(folder)
