"""Prompts: any text is continued, or refused because of its unknown symbols."""

import pytest
from fuzz_tools import check, empty_folder, run, texts
from hypothesis import given
from hypothesis import strategies as st

import textgen
from textgen.cli.completion import unescape

LONG = st.sampled_from(["the quick " * 300, "x\n" * 2000, "é" * 3000])
PROMPTS = st.one_of(texts, LONG, st.text("the quickfox\n", max_size=60))


@pytest.mark.parametrize("model", ["sequence", "window", "words"])
@given(PROMPTS, st.sampled_from(["skip", "error", "e", "\ufffd", "the"]))
def test_any_prompt(model, files, prompt, unknown):
    model = textgen.load(files / f"{model}.keras")
    vocabulary = model.vocabulary
    settings = {"seed": 1, "max_new_tokens": 4, "unknown": unknown}
    try:
        text = model.generate(prompt, **settings)
    except ValueError as error:
        known = unknown in ("skip", "error") or unknown in vocabulary
        assert not known or unknown == "error"
        assert "vocabulary" in str(error)
        return
    assert text.startswith(prompt)
    new = text.removeprefix(prompt)
    assert len(list(vocabulary.tokens(new))) <= 4
    assert set(new) <= set("".join(vocabulary.symbols))
    assert "".join(model.stream(prompt, **settings)) == text
    if len(vocabulary.encode(text, "skip")) > 1:
        score = model.score(text, unknown="skip")
        assert 0 < score.count <= len(text)


@given(
    PROMPTS, st.sampled_from([[], ["--count", 2], ["--num-beams", 2], ["--no-echo"]])
)
def test_any_prompt_in_the_command_line(files, prompt, options):
    command = ["generate", files / "sequence.keras", f"--prompt={prompt}", *options]
    command += ["--max-new-tokens", 3, "--seed", 1]
    result = run(command)
    check(result, codes=(0, 2))
    if result.code == 2:
        assert "Not in the vocabulary" in result.errors
        command += ["--unknown", "skip"]
        result = run(command)
    assert result.code == 0
    if "--count" not in options and "--num-beams" not in options:
        shown = unescape(prompt).encode("utf-8", "backslashreplace").decode()
        assert "--no-echo" in options or result.output.startswith(shown)
        with empty_folder() as folder:
            assert run([*command, "-o", "new.txt"]) == (0, "", "")
            written = (folder / "new.txt").read_bytes().decode("utf-8")
        if not any("\ud800" <= each <= "\udfff" for each in prompt):
            assert written == result.output
