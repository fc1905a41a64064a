"""Trains and measures the pretrained models, and writes their cards and the index.

    python benchmarks/pretrained.py                          # all models: two hours
    python benchmarks/pretrained.py dinosaurs tang-poems     # only these models
    python benchmarks/pretrained.py --measure                # without training

For each model, runs the recipe in an empty folder and measures the model. Then writes
`pretrained/NAME.keras`, its card `NAME.md` and its entry in `index.json`.
"""

import argparse
import collections
import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import math
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "pretrained"
INDEX = FOLDER / "index.json"
VALIDATION = 0.1
SEED = 0
TEMPERATURES = (0.5, 0.8, 1.0)
RUNS = (20, 30, 50)  # characters
COUPLET = re.compile(r"([^，。]{5}，[^，。]{5}|[^，。]{7}，[^，。]{7})。")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The part of a card that is not measured.

    Args:
        description: str. What the model generates.
        recipe: str. Name of the script in `recipes/`, and of the file that it writes.
        corpus: str. A name of `textgen.CORPORA`.
        network: str. Its architecture and regularisation.
        limits: str. What the model has not learned.
        options: tuple of str. Arguments of `textgen generate` for an example.
        prompt: str. The beginning of the samples.
        max_lines: int. Number of lines of a sample.
        lowercase: bool. Whether the corpus is converted to lower case.
        lines: bool. Whether each line is a separate text, such as a name.
        couplets: bool. Whether a line is a couplet of Chinese verse.
        before: str or `None`. The pretrained model whose weights the training starts
            from.
    """

    description: str
    recipe: str
    corpus: str
    network: str
    limits: str
    options: tuple[str, ...]
    prompt: str
    max_lines: int
    lowercase: bool = False
    lines: bool = False
    couplets: bool = False
    before: str | None = None


PLANS = {
    "dinosaurs": Plan(
        description="new dinosaur names",
        recipe="dinosaurs",
        corpus="dinosaurs",
        network="embedding of size 27, LSTM 192 with layer normalisation, dropout 0.5, "
        "dropout of the recurrent weights 0.3; many-to-many, one line per example",
        limits="It generates one name at a time, in the lower-case letters a to z.",
        options=("--count", "10"),
        prompt="",
        max_lines=1,
        lowercase=True,
        lines=True,
    ),
    "shakespeare": Plan(
        description="sonnets, with the network that courses use",
        recipe="shakespeare",
        corpus="shakespeare",
        network="LSTM 128 and LSTM 128 on one-hot characters, dropout 0.5 after each; "
        "many-to-one, windows of 40 characters, stride 3",
        limits="It sees only the last 40 characters. It has learned words and the "
        "length of a line, but not grammar or rhyme. Its vocabulary is the 38 symbols "
        "of the lower-case corpus; capital letters of a prompt are converted to lower "
        "case. `sonnets-large` generates better text.",
        options=("--prompt", "Forsooth this maketh no sense ", "--max-lines", "4"),
        prompt="Shall I compare thee ",
        max_lines=6,
        lowercase=True,
    ),
    "tinyshakespeare": Plan(
        description="plays in the style of Shakespeare",
        recipe="tinyshakespeare",
        corpus="tinyshakespeare",
        network="embedding of size 64, LSTM 512, dropout 0.4, dropout of the recurrent "
        "weights 0.25; many-to-many",
        limits="It has learned the form of a play, English words and some grammar, "
        "but the text has no meaning: speakers of different plays meet in one scene. "
        "Its vocabulary is the 65 symbols of the corpus. For comparison, on the same "
        "split: the GPU model of nanoGPT has 1.4697 nats, its CPU recipe 1.8857.",
        options=("--prompt", "ROMEO:"),
        prompt="ROMEO:\n",
        max_lines=6,
    ),
    "sonnets-large": Plan(
        description="sonnets, with a wide network that was first trained on the plays",
        recipe="sonnets-large",
        corpus="shakespeare",
        network="embedding of size 64, LSTM 512, dropout 0.4, dropout of the recurrent "
        "weights 0.25; many-to-many; starts from the weights of `tinyshakespeare`",
        limits="It has learned the line of a sonnet and many typical phrases, but not "
        "rhyme or meaning. Its vocabulary is the 38 symbols of the lower-case corpus; "
        "capital letters of a prompt are converted to lower case.",
        options=(
            *("--prompt", "Shall I compare thee "),
            *("--max-lines", "14"),
        ),
        prompt="Shall I compare thee ",
        max_lines=6,
        lowercase=True,
        before="tinyshakespeare",
    ),
    "tang-poems": Plan(
        description="Chinese regulated verse, one couplet per line",
        recipe="tang-poems",
        corpus="tang-poems",
        network="embedding of size 512, also used as output weights, LSTM 512, dropout "
        "0.5, dropout of the recurrent weights 0.25; many-to-many; finally 400 steps "
        "with single couplets, to learn how a text begins",
        limits="It has learned the form (couplets of five or seven characters) and the "
        "imagery, but not tones, rhyme, or a line of thought through several couplets. "
        "Its vocabulary is the 5,387 symbols of the corpus; it cannot use symbols well "
        "that occur once or never in the training part.",
        options=("--prompt", "床前明月光，", "--max-lines", "4"),
        prompt="",
        max_lines=4,
        couplets=True,
    ),
}


def main() -> None:
    """Trains and measures the given models, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"models to train: {', '.join(PLANS)} (default: all)",
    )
    parser.add_argument(
        "--measure",
        action="store_true",
        help="measure the models again without training",
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PLANS):
        parser.error(
            f"no plan for {', '.join(unknown)}; known models: {', '.join(PLANS)}"
        )
    index = json.loads(INDEX.read_text(encoding="utf-8"))
    # In the order of the plans: a model may start from the weights of an earlier one.
    for name in [name for name in PLANS if name in (arguments.names or PLANS)]:
        with tempfile.TemporaryDirectory() as folder:
            if arguments.measure:
                if name not in index:
                    parser.error(f"{name} has not been trained: omit --measure")
                path, training = FOLDER / f"{name}.keras", index[name]["training"]
            else:
                path, training = train(name, Path(folder))
            entry, card = measured(name, path, training)
            if not arguments.measure:
                shutil.move(path, FOLDER / f"{name}.keras")
        index[name] = entry
        ordered = {name: index[name] for name in PLANS if name in index}
        INDEX.write_text(
            json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (FOLDER / f"{name}.md").write_text(card, encoding="utf-8")
        print(f"{name}: {entry['nats']:.4f} nats per character", flush=True)


def train(name: str, folder: Path) -> tuple[Path, str]:
    """Runs the recipe in a folder.

    Returns:
        The path of the model, and the duration, the machine and the versions as text.
    """
    from textgen.backend import available_cores

    plan = PLANS[name]
    commit = git("describe", "--always") or "unknown"
    if git("status", "--porcelain", "--untracked-files=no", "textgen", "recipes"):
        commit += ", changed"
    versions = [
        f"{package} {importlib.metadata.version(package)}"
        for package in ("tensorflow", "keras")
    ]
    started = time.monotonic()
    subprocess.run(
        [sys.executable, ROOT / "recipes" / f"{plan.recipe}.py"],
        cwd=folder,
        check=True,
    )
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    cores = f"{available_cores()} {platform.machine()} cores"
    return folder / f"{plan.recipe}.keras", (
        f"{took} of the complete process on {cores}; {', '.join(versions)}; "
        f"commit {commit}"
    )


def git(*arguments: str) -> str:
    """Returns the output of a git command; empty if the project is not a clone."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def measured(name: str, path: Path, training: str) -> tuple[dict[str, Any], str]:
    """Measures a model; returns its entry in the index, and its card."""
    import textgen

    plan = PLANS[name]
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    model = textgen.load(path)
    known = textgen.CORPORA[plan.corpus]
    text = textgen.load_corpus(plan.corpus, lowercase=plan.lowercase)
    pieces = parts(plan, text)
    train_text, held_out = map("".join, pieces)
    losses = [model.score(part).nats for part in pieces]
    unigram, bigram = baselines(train_text, held_out, len(model.vocabulary))

    seen = train_text
    if plan.before:
        # The earlier model has seen its own training text, too.
        corpus = textgen.load_corpus(
            PLANS[plan.before].corpus, lowercase=plan.lowercase
        )
        seen += "\n" + parts(PLANS[plan.before], corpus)[0]
    thousand = []
    if plan.lines or plan.couplets:
        thousand = model.generate(
            plan.prompt,
            count=1000,
            max_new_tokens=100,
            temperature=0.8,
            stop="\n",
            echo=False,
            seed=SEED,
        )
    if plan.lines:
        # Only runs within a line: the order of the lines is random.
        written, held_out_texts = thousand, held_out.split("\n")
    else:
        written = [
            model.generate(plan.prompt, 10_000, temperature=0.8, echo=False, seed=SEED)
        ]
        held_out_texts = [held_out]

    rows = {
        "corpus": f"`{plan.corpus}`: {known.description}; {known.characters:,} "
        f"characters, {known.license}",
        "trained on": "the first 90 %"
        + (f" of the {'names, shuffled with seed 0' if plan.lines else 'characters'}")
        + (", lower-cased" if plan.lowercase else "")
        + (
            f"; before that, the training text of `{plan.before}`"
            if plan.before
            else ""
        ),
        "validated on": "the rest, which is not used for training, only to choose the "
        "best epoch",
        "network": f"{plan.network}; {model.count_params():,} weights",
        "recipe": f"`python recipes/{plan.recipe}.py`, seed {SEED}",
        "training": training
        + (f"; plus the training of `{plan.before}`" if plan.before else ""),
        "loss on the training part": both(losses[0]),
        "**held-out loss**": f"**{both(losses[1])}**, "
        + (
            "all characters"
            if model.start_step or not model.return_sequences
            else "all characters except the first"
        ),
        "held-out perplexity": f"{math.exp(losses[1]):.2f}; unigram model "
        f"{math.exp(unigram):.2f}, bigram model {math.exp(bigram):.2f}",
        "SHA-256": f"`{sha256}`",
    }
    if plan.lines:
        names_known = set(text.splitlines())
        new = [each for each in thousand if each and each not in names_known]
        rows["of 1,000 names, temperature 0.8"] = (
            f"{len(new) / 10:.1f} % are new (not in the complete list), "
            f"{len(set(thousand)) / 10:.1f} % are different names, "
            f"{thousand.count('')} are empty"
        )
    if plan.couplets:
        rows["of 1,000 lines, temperature 0.8"] = (
            f"{couplets(thousand):.1f} % are couplets (5 or 7 characters, comma, the "
            "same number of characters, full stop); in the corpus, "
            f"{couplets(text.splitlines()):.1f} %"
        )
    samples = []
    for temperature in TEMPERATURES:
        sample = model.generate(
            plan.prompt,
            400,
            temperature,
            count=8 if plan.lines else 1,
            stop="\n" if plan.lines else None,
            max_lines=plan.max_lines,
            seed=SEED,
        )
        samples.append(
            f"At temperature {temperature}:\n\n"
            + textwrap.indent("\n".join(sample).strip("\n"), "    ")
        )
    shares = [
        "| sequences of | "
        + " | ".join(f"{length} characters" for length in RUNS)
        + " |\n|---|---|---|---|",
        row(
            f"{sum(map(len, written)):,} generated characters, temperature 0.8",
            written,
            seen,
        ),
        row("the held-out text", held_out_texts, seen),
    ]
    card = "\n\n".join(
        [
            f"# {name}",
            f"Generates {plan.description}.",
            "    " + shlex.join(["textgen", "generate", name, *plan.options]),
            "| | |\n|---|---|\n"
            + "\n".join(f"| {key} | {value} |" for key, value in rows.items()),
            textwrap.fill(plan.limits, 88),
            "## Samples",
            *samples,
            "## Does it copy its training text?",
            "The share of character sequences that are also in the training text:",
            "\n".join(shares),
            textwrap.fill(
                "`model.score` measures losses and perplexities, without dropout. The "
                "unigram model (add-one estimate) and the bigram model (Witten-Bell "
                "interpolation) are counted on the training part, and measured on the "
                "held-out part. `benchmarks/pretrained.py` wrote this card.",
                88,
                break_on_hyphens=False,
            ),
        ]
    )
    entry = {
        "description": plan.description,
        "corpus": plan.corpus,
        "nats": round(losses[1], 4),
        "training": training,
        "sha256": sha256,
        "options": list(plan.options),
    }
    return entry, card + "\n"


def parts(plan: Plan, text: str) -> tuple[Any, Any]:
    """Cuts a corpus as the recipe does, into training part and held-out part."""
    import textgen

    if not plan.lines:
        return textgen.split(text, VALIDATION)
    train_lines, held_out = textgen.split_lines(text, VALIDATION, SEED)
    return [line + "\n" for line in train_lines], [line + "\n" for line in held_out]


def both(nats: float) -> str:
    """Returns a loss in nats and in bits, as text."""
    return f"{nats:.4f} nats, {nats / math.log(2):.4f} bits per character"


def couplets(lines: list[str]) -> float:
    """Returns the percentage of the lines that are well-formed couplets."""
    return 100 * sum(map(bool, map(COUPLET.fullmatch, lines))) / len(lines)


def row(label: str, texts: list[str], seen: str) -> str:
    """Returns a row of the table of shares."""
    return f"| {label} | " + " | ".join(recited(texts, seen, n) for n in RUNS) + " |"


def recited(texts: list[str], seen: str, length: int) -> str:
    """Returns the share of runs of `length` characters that are also in `seen`."""
    known = {seen[at : at + length] for at in range(len(seen) - length + 1)}
    runs = [
        text[at : at + length] for text in texts for at in range(len(text) - length + 1)
    ]
    if not runs:
        return "too short"
    return f"{100 * sum(run in known for run in runs) / len(runs):.2f} %"


def baselines(train_text: str, held_out: str, size: int) -> tuple[float, float]:
    """Returns the loss of a unigram model and of a bigram model of characters.

    Args:
        train_text: str. The text whose characters and pairs are counted.
        held_out: str. The text that is predicted.
        size: int. Number of symbols of the vocabulary.

    Returns:
        Two floats, in nats per character. The first is the add-one estimate; the second
        interpolates pairs with it as Witten and Bell do (IEEE Transactions on
        Information Theory 37(4), 1991; Chen and Goodman, 1999, section 2.4).
    """
    singles = collections.Counter(train_text)
    pairs = collections.Counter(itertools.pairwise(train_text))
    contexts = collections.Counter(train_text[:-1])
    followers = collections.Counter(first for first, _ in pairs)
    total = len(train_text)
    nats = [0.0, 0.0]
    last = train_text[-1]
    for symbol in held_out:
        single = (singles[symbol] + 1) / (total + size)
        kinds, seen = followers[last], contexts[last]
        pair = single
        if seen:
            pair = (pairs[last, symbol] + kinds * single) / (seen + kinds)
        nats[0] -= math.log(single)
        nats[1] -= math.log(pair)
        last = symbol
    return nats[0] / len(held_out), nats[1] / len(held_out)


if __name__ == "__main__":
    main()
