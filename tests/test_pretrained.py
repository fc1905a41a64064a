"""The pretrained models are those of their cards, and do what the cards say."""

import hashlib
import importlib.util
import math
import re
from pathlib import Path

import numpy as np
import pytest

import textgen

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "pretrained"
NAMES = ["dinosaurs", "shakespeare", "tinyshakespeare", "sonnets-large", "tang-poems"]
BARS = {"tinyshakespeare": 1.44, "sonnets-large": 1.70}  # nats a character


@pytest.fixture(scope="module")
def benchmark():
    """The script that measures the models."""
    path = ROOT / "benchmarks" / "pretrained.py"
    spec = importlib.util.spec_from_file_location("pretrained_benchmark", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_are_there_and_small():
    assert list(textgen.PRETRAINED) == NAMES
    assert {path.stem for path in FOLDER.glob("*.keras")} == set(NAMES)
    assert {path.stem for path in FOLDER.glob("*.md")} == set(NAMES)
    assert sum(path.stat().st_size for path in FOLDER.glob("*.keras")) <= 40e6


@pytest.mark.parametrize("name", NAMES)
def test_model_is_that_of_its_card(name):
    card = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    path = FOLDER / f"{name}.keras"
    entry = textgen.PRETRAINED[name]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
    assert f"| SHA-256 | `{entry.sha256}` |" in card
    assert f"**{entry.nats:.4f} nats" in card
    assert f"| training | {entry.training}" in card
    model = textgen.load(name)
    assert f"; {model.count_params():,} weights |" in card
    assert model.cell.upper() + f" {model.units[0]}" in card
    recipe = re.search(r"`python (recipes/\S+\.py)`, seed 0", card)[1]
    assert (ROOT / recipe).is_file()
    for temperature in (0.5, 0.8, 1.0):
        assert f"At temperature {temperature}:\n\n    " in card


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_held_out_loss(name, corpus_text, benchmark):
    """Of the beginning of the held-out part: all of it takes minutes."""
    entry = textgen.PRETRAINED[name]
    plan = benchmark.PLANS[name]
    text = corpus_text(entry.corpus, lowercase=plan.lowercase)
    _, held_out = benchmark.parts(plan, text)
    whole = name in ("dinosaurs", "sonnets-large")
    part = held_out if whole else held_out[:5_000]
    nats = textgen.load(name).score(part).nats
    assert nats == pytest.approx(entry.nats, abs=1e-3 if whole else 0.25)
    assert entry.nats <= BARS.get(name, 10)


def test_names_are_new_and_not_empty():
    known = set(textgen.load_corpus("dinosaurs", lowercase=True).splitlines())
    names = textgen.load("dinosaurs").generate(
        count=1000, max_new_tokens=100, temperature=0.8, stop="\n", seed=0
    )
    assert all(names)
    assert sum(name not in known for name in names) >= 900


def test_lines_are_couplets(benchmark):
    lines = textgen.load("tang-poems").generate(
        count=200, temperature=0.8, stop="\n", seed=1
    )
    assert benchmark.couplets(lines) >= 95
    assert benchmark.couplets(["春眠不觉晓，处处闻啼鸟。", "春眠，处处闻啼鸟。"]) == 50


PROMPTS = ("Forsooth this maketh no sense ", "Forsooth this maketh no sense")
POEM = {"temperature": 0.5, "max_lines": 4, "seed": 1}


def test_a_space_at_the_end_of_a_prompt_counts():
    model = textgen.load("shakespeare")
    texts = [model.generate(prompt, **POEM) for prompt in PROMPTS]
    for prompt, text in zip(PROMPTS, texts, strict=True):
        assert text.startswith(prompt)
        assert len(text.splitlines()) == 4
    assert texts[0].split() != texts[1].split()


def test_texts_of_the_readme_are_those_of_their_seed():
    """Each letter is where the cumulative probabilities pass the uniform number.

    A machine that rounds otherwise may write another letter where both are as near to
    each other as rounding: `generate` need not give the very same text everywhere.
    """
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = readme.partition('seed=1), end="\\n\\n")\n```\n\n```\n')[2]
    texts = block.partition("\n```")[0].split("\n\n")
    assert len(texts) == 2
    model = textgen.load("shakespeare")
    for prompt, text in zip(PROMPTS, texts, strict=True):
        assert text.startswith(prompt)
        assert text.count("\n") == 3
        ids = model.vocabulary.encode(text[len(prompt) :].lower() + "\n")
        uniforms = np.random.default_rng([1, 0]).random(len(ids), np.float32)
        edges = []

        def rule(logits, count, ids=ids, edges=edges):
            probabilities = np.exp(logits[0] - logits[0].max(), dtype=np.float64)
            cumulative = np.cumsum(probabilities / probabilities.sum())
            edges.append(np.append(0, cumulative)[[ids[count], ids[count] + 1]])
            return [ids[count]]

        # The newline that is to end the text is the last letter of the rule.
        assert model.generate(prompt, sampler=rule, **POEM) == text
        lower, upper = np.transpose(edges)
        # Logits of size 16 at most, divided by 0.5, are sums of some 128 products.
        near = 2 * 16 * 128 * 2.0**-24
        assert len(lower) == len(ids)
        assert (lower - near <= uniforms).all()
        assert (uniforms <= upper + near).all()


def test_runs_that_stand_in_a_text(benchmark):
    assert benchmark.recited(["abcxbcd", "d"], "abcd", 2) == "66.67 %"
    assert benchmark.recited(["abcd"], "abcd", 3) == "100.00 %"
    assert benchmark.recited(["abcd"], "abcd", 5) == "too short"


def test_baselines_are_probabilities(benchmark):
    """Over all next symbols, the probabilities of each baseline add up to 1."""
    train, symbols = "abacabad", "abcdxy"
    for which in (0, 1):
        total = sum(
            math.exp(-benchmark.baselines(train, symbol, len(symbols))[which])
            for symbol in symbols
        )
        assert total == pytest.approx(1)
