"""`textgen generate`, and `textgen complete` as a process."""

import pathlib
import subprocess
import sys

import pytest
from command_line import TEXT, run

import textgen

pytestmark = pytest.mark.usefixtures("text_file")


def test_several_texts_and_stop(model_file, capsys):
    code = run("generate", model_file, "--count", 3, "--stop", "\\n", "q", "--seed", 1)
    texts = textgen.load(model_file).generate(
        count=3, stop=["\n", "q"], temperature=0.7, seed=1
    )
    assert code == 0
    assert capsys.readouterr().out == "".join(f"{text}\n" for text in texts)


def test_texts_of_several_lines_are_told_apart(model_file, capsys):
    options = ["--count", 3, "--seed", 1, "--temperature", 3]
    assert run("generate", model_file, *options) == 0
    texts = textgen.load(model_file).generate(count=3, temperature=3.0, seed=1)
    assert any("\n" in text for text in texts)
    line = "-" * 20
    assert capsys.readouterr().out == f"\n{line}\n".join(texts) + "\n"


def test_options_of_generate_reach_the_model(model_file, capsys):
    model = textgen.load(model_file)
    rules = {
        "top_k": 9,
        "top_p": 0.9,
        "min_p": 0.01,
        "typical_p": 0.95,
        "repetition_penalty": 1.3,
    }
    options = ["--prompt", "the ", "--max-new-tokens", 30, "--seed", 3, "--no-echo"]
    for name, value in rules.items():
        options += ["--" + name.replace("_", "-"), value]
    options += ["--forbid", r"e\n", "--temperature", 2.0, 0.5]
    assert run("generate", model_file, *options, "--max-lines", 2) == 0
    expected = model.generate(
        "the ",
        30,
        [2.0, 0.5],
        seed=3,
        echo=False,
        max_lines=2,
        forbidden="e\n",
        **rules,
    )
    assert capsys.readouterr().out == expected + "\n"
    options = ["--num-beams", 3, "--length-penalty", 0.5, "--max-new-tokens", 9]
    assert run("generate", model_file, *options, "--count", 2, "--forbid", r"\n") == 0
    search = {"num_beams": 3, "length_penalty": 0.5, "forbidden": "\n"}
    best = model.generate("", 9, count=2, **search)
    assert capsys.readouterr().out == "".join(text + "\n" for text in best)


def test_novel_texts(model_file, capsys):
    pathlib.Path("known.txt").write_text("A\nb\nc\nd", encoding="utf-8")
    options = ["--max-new-tokens", 1, "--seed", 0, "--temperature", 3]
    code = run("generate", model_file, "--novel", "known.txt", "--count", 200, *options)
    printed = capsys.readouterr()
    assert code == 0
    new = set(textgen.Vocabulary.from_text(TEXT).symbols) - set("abcd")
    assert sorted(printed.out[::2]) == sorted(new)
    assert f"Only {len(new)} of 200 new texts" in printed.err


def test_generating_to_a_file(model_file, capsys):
    options = ["--prompt", "the ", "--seed", 1, "--max-new-tokens", 20]
    assert run("generate", model_file, *options, "-o", "out.txt") == 0
    assert capsys.readouterr().out == ""
    assert run("generate", model_file, *options) == 0
    written = pathlib.Path("out.txt").read_text(encoding="utf-8")
    assert written == capsys.readouterr().out
    assert run("generate", model_file, *options, "-o", "out.txt") == 2
    assert "out.txt exists" in capsys.readouterr().err
    assert pathlib.Path("out.txt").read_text(encoding="utf-8") == written


def test_blended_models(model_file, tmp_path, capsys):
    other = textgen.LanguageModel(textgen.Vocabulary.from_text("XYZ"), units=4)
    other.save("other.keras")
    options = ["--seed", 1, "--max-new-tokens", 30, "--temperature", 1]
    weights = ["--weights", 1, 3]
    assert run("generate", model_file, "other.keras", *weights, *options) == 0
    models = [textgen.load(model_file), textgen.load("other.keras")]
    expected = textgen.Blend(models, [1, 3]).generate("", 30, 1.0, seed=1)
    assert capsys.readouterr().out == expected + "\n"
    assert set(expected) & set("XYZ")
    assert run("generate", model_file, "other.keras", "--weights", 1) == 2
    assert (
        "--weights needs one number per model: there are 1 numbers for 2"
        in capsys.readouterr().err
    )


def test_bytes(capsys):
    model = textgen.LanguageModel(
        textgen.ByteTokenizer(), cell="gru", units=3, return_sequences=True
    )
    model.save("bytes.keras")
    options = ["--prompt", "床", "--max-new-tokens", 20, "--seed", 3]
    assert run("generate", "bytes.keras", *options, "--forbid", "ab") == 0
    text = model.generate("床", 20, seed=3, forbidden="ab")
    assert capsys.readouterr().out == f"{text}\n"
    assert run("generate", "bytes.keras", "--forbid", "é") == 2
    error = capsys.readouterr().err
    assert error.startswith("textgen generate: error: 'é' is not a single byte")
    assert error.count("\n") == 1


def test_all_tokens_forbidden(model_file, capsys):
    assert run("generate", model_file, "--forbid", "".join(sorted(set(TEXT)))) == 2
    assert "error: --forbid must not have all tokens" in capsys.readouterr().err


def test_unknown_prompt_symbol(model_file, capsys):
    assert run("generate", model_file, "--prompt", "th→é←") == 2
    error = capsys.readouterr().err
    assert (
        "'→' at position 2, '←' at position 4. Use --unknown skip to leave them out"
        in error
    )
    assert "or --unknown S to replace them with a symbol S of the vocabulary." in error
    assert run("generate", model_file, "--prompt", "th→", "--unknown", "skip") == 0
    assert capsys.readouterr().out.startswith("th→")
    assert run("generate", model_file, "--prompt", "thé") == 0
    assert capsys.readouterr().out.startswith("thé")


def test_complete_in_a_pipe(model_file):
    options = ["--seed", "2", "--max-new-tokens", "20", "--temperature", "1"]
    options += ["--top-k", "3", "--stop", "e", r"\n"]
    done = subprocess.run(
        [sys.executable, "-m", "textgen", "complete", model_file, *options],
        input="the \n/bad\nqui\n",
        capture_output=True,
        text=True,
    )
    model = textgen.load(model_file)
    poems = [
        model.generate(start, 20, 1.0, seed=2, top_k=3, stop=["e", "\n"])
        for start in ("the ", "qui")
    ]
    assert done.stdout.rstrip("\n") == "\n\n".join(poems).rstrip("\n")
    assert "/bad" in done.stderr
    assert done.returncode == 2
