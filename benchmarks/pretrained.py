"""Trains and measures the pretrained models, and writes their cards and the index.

    python benchmarks/pretrained.py                          # all of them: two hours
    python benchmarks/pretrained.py dinosaurs tang-poems     # these
    python benchmarks/pretrained.py --measure                # train nothing

Runs the recipe in an empty folder, measures the model, and only then writes
`pretrained/NAME.keras`, its card `NAME.md` and its entry of `index.json`.
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
    """What a card says that cannot be measured.

    Args:
        description: str. What the model writes.
        recipe: str. The script in `recipes/`.
        corpus: str. A name of `textgen.CORPORA`.
        network: str. Its architecture and regularisation.
        limits: str. What not to expect.
        options: tuple of str. What to give to `textgen generate`.
        prompt: str. What samples begin with.
        max_lines: int. Lines of a sample.
        lowercase: bool. Whether the corpus is lower-cased.
        lines: bool. Whether each line is a text of its own, a name.
        couplets: bool. Whether a line is a couplet of Chinese verse.
        before: str or `None`. The pretrained model that it begins as.
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
        description="names of dinosaurs that nobody has dug up",
        recipe="dinosaurs",
        corpus="dinosaurs",
        network="GRU 128 and GRU 128 on one-hot letters, dropout 0.4 after each; "
        "many-to-many, a line at a time",
        limits="It writes one lower-case name of letters a to z.",
        options=("--count", "10"),
        prompt="",
        max_lines=1,
        lowercase=True,
        lines=True,
    ),
    "shakespeare": Plan(
        description="sonnets, by the network of the courses",
        recipe="shakespeare",
        corpus="shakespeare",
        network="LSTM 128 and LSTM 128 on one-hot characters, dropout 0.5 after each; "
        "many-to-one, windows of 40 characters, stride 3",
        limits="It sees 40 characters and no more, so it knows words and the length "
        "of a line, and neither grammar nor rhyme. Its vocabulary is the 38 symbols "
        "of the lower-cased corpus; capitals of a prompt are lower-cased. "
        "`sonnets-large` writes better.",
        options=("--prompt", "Forsooth this maketh no sense ", "--max-lines", "4"),
        prompt="Shall I compare thee ",
        max_lines=6,
        lowercase=True,
    ),
    "tinyshakespeare": Plan(
        description="plays in the manner of Shakespeare",
        recipe="tinyshakespeare",
        corpus="tinyshakespeare",
        network="vectors of 64, LSTM 512, dropout 0.4, dropout of recurrent weights "
        "0.25; many-to-many",
        limits="It knows the form of a play, English words and some grammar, and no "
        "sense: names of speakers from all the plays meet in one scene. Its "
        "vocabulary is the corpus's 65 symbols. For comparison, on the same split: "
        "nanoGPT's GPU model has 1.4697 nats, its CPU recipe 1.8857.",
        options=("--prompt", "ROMEO:"),
        prompt="ROMEO:\n",
        max_lines=6,
    ),
    "sonnets-large": Plan(
        description="sonnets, by a wide network that learned the plays first",
        recipe="sonnets-large",
        corpus="shakespeare",
        network="vectors of 64, LSTM 512, dropout 0.4, dropout of recurrent weights "
        "0.25; many-to-many; begun with the weights of `tinyshakespeare`",
        limits="It knows the line of a sonnet and many of its turns, and neither "
        "rhyme nor sense. Its vocabulary is the 38 symbols of the lower-cased corpus; "
        "capitals of a prompt are lower-cased.",
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
        description="Chinese regulated verse, a couplet a line",
        recipe="tang-poems",
        corpus="tang-poems",
        network="vectors of 512, which are the output's weights too, LSTM 512, dropout "
        "0.5, dropout of recurrent weights 0.25; many-to-many; at last, 400 steps of "
        "single couplets, for the beginning of a text",
        limits="It keeps to the form, couplets of five or of seven characters, and to "
        "the imagery; it knows nothing of tones, of rhyme or of an argument that goes "
        "on. Its vocabulary is all the corpus's 5,387 symbols; what stands in the "
        "corpus once or never before the held-out part, it cannot use well.",
        options=("--prompt", "床前明月光，", "--max-lines", "4"),
        prompt="",
        max_lines=4,
        couplets=True,
    ),
}


def main() -> None:
    """Trains and measures the models that were named, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join(PLANS)}"
    )
    parser.add_argument("--measure", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(PLANS):
        parser.error(f"there is no plan for {', '.join(unknown)}")
    index = json.loads(INDEX.read_text(encoding="utf-8"))
    # In the order of the plans: a model may begin as the one before it.
    for name in [name for name in PLANS if name in (arguments.names or PLANS)]:
        with tempfile.TemporaryDirectory() as folder:
            if arguments.measure:
                if name not in index:
                    parser.error(f"{name} has not been trained")
                path, training = FOLDER / f"{name}.keras", index[name]["training"]
            else:
                path, training = train(name, Path(folder))
            entry, card = measured(name, path, training)
            if not arguments.measure:
                shutil.move(path, FOLDER / path.name)
        index[name] = entry
        ordered = {name: index[name] for name in PLANS if name in index}
        INDEX.write_text(
            json.dumps(ordered, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        (FOLDER / f"{name}.md").write_text(card, encoding="utf-8")
        print(f"{name}: {entry['nats']:.4f} nats a character", flush=True)


def train(name: str, folder: Path) -> tuple[Path, str]:
    """Runs the recipe in a folder.

    Returns:
        The path of the model, and a sentence that says how long it took and where.
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
    output = folder / f"{name}.keras"
    started = time.monotonic()
    subprocess.run(
        [sys.executable, ROOT / "recipes" / f"{plan.recipe}.py", "--output", output],
        cwd=folder,
        check=True,
    )
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    cores = f"{available_cores()} {platform.machine()} cores"
    return output, (
        f"{took}, the whole process, on {cores}; {', '.join(versions)}; commit {commit}"
    )


def git(*arguments: str) -> str:
    """Returns what git says of the project, nothing where it is not a clone."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def measured(name: str, path: Path, training: str) -> tuple[dict[str, Any], str]:
    """Returns the entry of the index, and the card."""
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
        # It knows what the model that it began as had learned.
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
        # Runs within a line: the order of the lines is not the model's.
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
        + (f"; before that, all that `{plan.before}` learned" if plan.before else ""),
        "validated on": "the rest: never trained on, but the best epoch was chosen "
        "by it",
        "network": f"{plan.network}; {model.count_params():,} weights",
        "recipe": f"`python recipes/{plan.recipe}.py`, seed {SEED}",
        "training": training
        + (f"; besides that of `{plan.before}`" if plan.before else ""),
        "loss on the training part": both(losses[0]),
        "**held-out loss**": f"**{both(losses[1])}**, "
        + (
            "every character counted"
            if model.start_step or not model.return_sequences
            else "every character but the first counted"
        ),
        "held-out perplexity": f"{math.exp(losses[1]):.2f}; of single characters "
        f"{math.exp(unigram):.2f}, of pairs {math.exp(bigram):.2f}",
        "SHA-256": f"`{sha256}`",
    }
    if plan.lines:
        names_known = set(text.splitlines())
        new = [each for each in thousand if each and each not in names_known]
        rows["of 1,000 names, temperature 0.8"] = (
            f"{len(new) / 10:.1f} % are new (not in the whole list), "
            f"{len(set(thousand)) / 10:.1f} % differ from each other, "
            f"{thousand.count('')} empty"
        )
    if plan.couplets:
        rows["of 1,000 lines, temperature 0.8"] = (
            f"{couplets(thousand):.1f} % are couplets (5 or 7 characters, comma, as "
            f"many, full stop); of the corpus, {couplets(text.splitlines()):.1f} %"
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
        "| runs of | "
        + " | ".join(f"{length} characters" for length in RUNS)
        + " |\n|---|---|---|---|",
        row(
            f"{sum(map(len, written)):,} characters that it writes, temperature 0.8",
            written,
            seen,
        ),
        row("the held-out text", held_out_texts, seen),
    ]
    card = "\n\n".join(
        [
            f"# {name}",
            f"Writes {plan.description}.",
            "    " + shlex.join(["textgen", "generate", name, *plan.options]),
            "| | |\n|---|---|\n"
            + "\n".join(f"| {key} | {value} |" for key, value in rows.items()),
            textwrap.fill(plan.limits, 88),
            "## Samples",
            *samples,
            "## Does it recite?",
            "The share of runs that stand in what it was trained on:",
            "\n".join(shares),
            textwrap.fill(
                "Losses and perplexities are those of `model.score` without dropout; "
                "the ones of single characters (add-one) and of pairs (interpolated "
                "with Witten and Bell's weights) are counted on the training part and "
                "measured on the held-out one. Written by `benchmarks/pretrained.py`.",
                88,
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
    """Cuts a corpus as the recipe does: what is trained on, and what is held out."""
    import textgen

    if not plan.lines:
        return textgen.split(text, VALIDATION)
    train_lines, held_out = textgen.split_lines(text, VALIDATION, SEED)
    return [line + "\n" for line in train_lines], [line + "\n" for line in held_out]


def both(nats: float) -> str:
    """Says a loss in nats and in bits."""
    return f"{nats:.4f} nats, {nats / math.log(2):.4f} bits a character"


def couplets(lines: list[str]) -> float:
    """Returns the percentage of the lines that are well-formed couplets."""
    return 100 * sum(map(bool, map(COUPLET.fullmatch, lines))) / len(lines)


def row(what: str, texts: list[str], seen: str) -> str:
    """A row of the table of runs."""
    return f"| {what} | " + " | ".join(recited(texts, seen, n) for n in RUNS) + " |"


def recited(texts: list[str], seen: str, length: int) -> str:
    """Says what share of the runs of `length` characters stand in `seen`."""
    known = {seen[at : at + length] for at in range(len(seen) - length + 1)}
    runs = [
        text[at : at + length] for text in texts for at in range(len(text) - length + 1)
    ]
    if not runs:
        return "none so long"
    return f"{100 * sum(run in known for run in runs) / len(runs):.2f} %"


def baselines(train_text: str, held_out: str, size: int) -> tuple[float, float]:
    """Returns the loss of counting single characters, and of counting pairs.

    Args:
        train_text: str. What is counted.
        held_out: str. What is predicted.
        size: int. Symbols of the vocabulary.

    Returns:
        Two floats, nats a character. The first is the add-one estimate; the second
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
