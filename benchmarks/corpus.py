"""Measures large corpora: time and memory of `prepare` and of trainings on the ids.

    python benchmarks/corpus.py [PART …] [--gigabytes 1]

The texts are made by this script: words of about 200 different characters, in lines of
different lengths, in UTF-8.

- `prepare`: MB of text per second, and peak memory, for each kind of token.
- `train`: additional memory of a training on all ids, compared with the import of
  TensorFlow, with a batch of each shape, and time to the first batch, for sequences and
  for lines in a process of their own; time of a step, compared with 10 MB of text, in
  turns.
- `processes`: the same memory of each of 4 processes of `textgen launch`, which share
  the corpus. It needs JAX, so it runs only if it is named.
- `lines`: a million lines, one of them of a megabyte: memory as above; characters per
  second, compared with running text, in turns.
- `words`: memory of a training step and of `score` with 50,000 words.
- `sampled`: the sampled softmax with 10,000 and 50,000 words, and with the words of
  tinyshakespeare: steps per second, and the exact held-out loss of trainings of equal
  time, in turns with the full softmax.

Without an argument, all others run. The memory is the largest anonymous memory of a
process: a mapped file is in the page cache, which the system takes back when it needs
it. Writes benchmark-corpus.json. Linux only.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import textgen

BLOCK = 8_000_000  # characters of each of a few blocks that are repeated
BLOCKS = 6
WORDS = 50_000
LEVELS = ("character", "byte", "word", "bpe")
SAMPLES = (0, 512, 1024, 2048)  # drawn tokens of a sampled softmax; 0: all tokens
TURNS, TURN = 4, 15.0  # turns of each training, and seconds of one
ROUNDS = 7  # of two datasets that take turns


def block(seed: int, lines: bool = True) -> str:
    """Returns text of random words; frequent words are drawn as in Zipf's law."""
    rng = np.random.default_rng(seed)
    words = vocabulary()
    ranks = rng.zipf(1.2, BLOCK // 6)
    chosen = [words[rank % WORDS] for rank in ranks.tolist()]
    if not lines:
        return " ".join(chosen)[:BLOCK]
    ends = np.cumsum(rng.lognormal(2.4, 0.6, len(chosen)).astype(int) + 1)
    starts = [0, *ends[ends < len(chosen)].tolist()]
    parts = [" ".join(chosen[a:b]) for a, b in itertools.pairwise(starts)]
    return "\n".join(parts)[:BLOCK] + "\n"


def vocabulary() -> list[str]:
    """Returns 50,000 words of about 200 different characters."""
    rng = np.random.default_rng(0)
    letters = [chr(code) for code in (*range(97, 123), *range(0x430, 0x460))]
    letters += [chr(code) for code in (*range(65, 91), *range(0xC0, 0x100))]
    letters += [chr(code) for code in range(0x3B1, 0x3C9)]
    weights = 1 / np.arange(1, len(letters) + 1)
    sizes = rng.integers(2, 9, WORDS)
    drawn = rng.choice(len(letters), sizes.sum(), p=weights / weights.sum())
    ends = np.cumsum(sizes)
    return [
        "".join(letters[index] for index in drawn[end - size : end])
        for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)
    ]


def write_text(path: Path, size: float) -> float:
    """Writes a text of so many bytes; returns its size in MB."""
    blocks = [block(seed).encode() for seed in range(BLOCKS)]
    written = 0
    with open(path, "wb") as file:
        for each in itertools.cycle(blocks):
            part = each[: int(size) - written]
            part = part[: part.rfind(b"\n") + 1]  # complete lines
            if not part:
                break
            written += file.write(part)
    return written / 1e6


class Peak:
    """Follows the anonymous memory of this process, in a thread."""

    def __init__(self) -> None:
        self.before = anonymous()
        self.most = self.before
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self.most = max(self.most, anonymous())
            time.sleep(0.02)

    @property
    def more(self) -> float:
        """MB more than at the start."""
        return self.most - self.before


def anonymous() -> float:
    """Returns the anonymous memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1e3
    raise OSError("/proc/self/status has no RssAnon: this is not Linux")


def child(name: str, *values: str) -> dict[str, Any]:
    """Runs a function of this file in a separate process; returns its result."""
    command = [sys.executable, __file__, "--child", name, *values]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def prepare_once(path: str, output: str, level: str) -> dict[str, Any]:
    """Prepares a text; returns seconds and the peak memory in MB."""
    peak = Peak()
    start = time.perf_counter()
    corpus = textgen.prepare(path, output, level=level)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mb": peak.most, "size": len(corpus.tokenizer)}


def train_once(path: str, kind: str) -> dict[str, Any]:
    """Trains on all ids; returns the additional memory and the time to a batch.

    Args:
        path: Prepared ids.
        kind: `"sequences"` or `"lines"`.
    """
    import tensorflow

    tensorflow.constant(0)
    peak = Peak()
    start = time.perf_counter()
    corpus = textgen.PreparedCorpus.load(path)
    dataset = dataset_of(corpus, kind)
    dataset[0]
    first = time.perf_counter() - start
    model = small_model(corpus.tokenizer)
    model.fit(dataset, steps_per_epoch=50, verbose=0)
    shapes = set()
    for index in range(len(dataset)):  # a batch of each number of steps
        batch = dataset[index]
        if batch[0].shape not in shapes:
            model.train_on_batch(*batch)
            shapes.add(batch[0].shape)
        if len(shapes) == len(getattr(dataset, "bucket_steps", [64])):
            break
    return {"mb": peak.more, "first": first, "shapes": sorted(shapes)}


def train_share(path: str, kind: str, folder: str) -> None:
    """Trains as one of several processes; writes its additional memory to a file."""
    import jax

    jax.numpy.zeros(1).block_until_ready()
    peak = Peak()
    corpus = textgen.PreparedCorpus.load(path)
    model = small_model(corpus.tokenizer)
    model.fit(dataset_of(corpus, kind), steps_per_epoch=50, verbose=0)
    (Path(folder) / f"{kind}-{jax.process_index()}").write_text(str(peak.more))


def dataset_of(corpus: Any, kind: str) -> Any:
    """Returns a dataset of all ids: `"sequences"` or `"lines"`."""
    if kind == "lines":
        return line_dataset(corpus, lines=lines_of(corpus))
    return textgen.SequenceDataset(textgen.split(corpus.ids, 0.01)[0], 64, 32)


def lines_of(corpus: Any) -> Any:
    """Returns the lines of a corpus."""
    from textgen.lines import lines_of_corpus  # imports Keras

    return lines_of_corpus(corpus)


def line_dataset(corpus: Any, **options: Any) -> Any:
    """Returns a dataset of the lines of a corpus."""
    return textgen.LineDataset(corpus.ids, corpus.tokenizer.ids["\n"], **options)


def small_model(tokenizer: Any, units: int = 128) -> Any:
    """Returns a compiled many-to-many model."""
    model = textgen.LanguageModel(
        tokenizer, units=units, embedding=64, return_sequences=True
    )
    model.compile("adam")
    return model


def turns(ways: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Returns the median result of each way; they take turns."""
    results: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS + 1):
        for name, way in ways.items():
            results[name].append(way())
    return {name: statistics.median(each[1:]) for name, each in results.items()}


def speed(model: Any, dataset: Any, steps: int) -> Callable[[], float]:
    """Returns a function that trains some steps; it returns targets per second."""
    targets = [int((dataset[index][1] >= 0).sum()) for index in range(steps)]

    def way() -> float:
        start = time.perf_counter()
        model.fit(dataset, steps_per_epoch=steps, verbose=0)
        return sum(targets) / (time.perf_counter() - start)

    return way


def compare_sizes(large: str, small: str) -> dict[str, Any]:
    """Compares the speed of steps on a large and on a small text."""
    ways = {}
    for name, path in (("large", large), ("small", small)):
        corpus = textgen.PreparedCorpus.load(path)
        dataset = textgen.SequenceDataset(corpus.ids, 64, 32)
        ways[name] = speed(small_model(corpus.tokenizer), dataset, 60)
    return turns(ways)


def compare_lines(path: str) -> dict[str, Any]:
    """Compares the speed of lines, of which one is very long, and of running text."""
    corpus = textgen.PreparedCorpus.load(path)
    lines = lines_of(corpus)
    text = textgen.SequenceDataset(corpus.ids, 64, 32)
    ways = {}
    for name, dataset in (("lines", line_dataset(corpus, lines=lines)), ("text", text)):
        ways[name] = speed(small_model(corpus.tokenizer, 256), dataset, 120)
    longest = int(lines.lengths.max())
    return {**turns(ways), "count": len(lines), "longest": longest}


def word_model(tokenizer: Any, **options: Any) -> Any:
    """Returns a many-to-many model for many words, not compiled."""
    return textgen.LanguageModel(
        tokenizer,
        units=256,
        embedding=256,
        tie_weights=True,
        return_sequences=True,
        **options,
    )


def many_words(path: str) -> dict[str, Any]:
    """Measures a training step and `score` with 50,000 words."""
    peak = Peak()
    corpus = textgen.prepare(path, level="word", vocabulary_size=WORDS)
    size = len(corpus.tokenizer)
    model = word_model(corpus.tokenizer)
    model.compile("adam")
    dataset = textgen.SequenceDataset(corpus.ids, 32, 32)
    model.fit(dataset, steps_per_epoch=3, verbose=0)
    training = peak.more
    model.score(corpus.tokenizer.decode(corpus.ids)[:1_000_000])
    return {"size": size, "training": training, "mb": peak.more}


def compare_sampled(path: str, size: str) -> dict[str, Any]:
    """Compares trainings with a sampled softmax and with the full one, in turns."""
    keras = textgen.import_keras()
    corpus = textgen.prepare(path, level="word", vocabulary_size=int(size) or None)
    train, held_out = textgen.split(corpus.ids[:2_000_000], 0.02)
    validation = textgen.SequenceDataset(held_out, 32, 32)
    models: dict[int, Any] = {}
    rates: dict[int, list[float]] = {}
    for count in SAMPLES:
        keras.utils.set_random_seed(0)
        model = word_model(corpus.tokenizer, layer_norm=True)
        optimizer = keras.optimizers.Adam(3e-3, beta_2=0.99, global_clipnorm=1.0)
        model.compile(optimizer, sampled_softmax=count)
        models[count], rates[count] = model, []
    nats: dict[int, list[float]] = {count: [] for count in SAMPLES}
    for turn in range(TURNS):
        dataset = textgen.SequenceDataset(train, 32, 32, seed=turn)
        for count, model in models.items():
            rates[count].append(train_for(keras, model, dataset, TURN))
            nats[count].append(model.evaluate(validation, verbose=0))
    return {
        "size": len(corpus.tokenizer),
        "rates": {count: statistics.median(each) for count, each in rates.items()},
        "nats": nats,
    }


def train_for(keras: Any, model: Any, dataset: Any, seconds: float) -> float:
    """Trains for some seconds after the first step, which compiles; returns steps/s."""
    ends: list[float] = []

    def on_train_batch_end(batch: int, logs: Any) -> None:
        ends.append(time.perf_counter())
        model.stop_training = ends[-1] - ends[0] > seconds

    clock = keras.callbacks.LambdaCallback(on_train_batch_end=on_train_batch_end)
    model.fit(dataset, epochs=100, callbacks=[clock], verbose=0)
    return (len(ends) - 1) / (ends[-1] - ends[0])


def report_sampled(folder: Path, _: float) -> dict[str, Any]:
    """Prints the speed and the loss with a sampled softmax."""
    results = {}
    texts = [(str(folder / "small.txt"), 10_000), (str(folder / "small.txt"), WORDS)]
    for path, size in [*texts, ("tinyshakespeare", 0)]:
        result = child("compare_sampled", path, str(size))
        results[f"{Path(path).stem} {size}"] = result
        print(f"\n{result['size']:,} words of {Path(path).stem}, {TURN:g} s in turns")
        for count in SAMPLES:
            ratio = result["rates"][str(count)] / result["rates"]["0"]
            curve = ", ".join(f"{each:.3f}" for each in result["nats"][str(count)])
            print(f"  {count or 'all':>5}: {ratio:.2f} x steps/s; nats {curve}")
    return results


def report_prepare(folder: Path, megabytes: float) -> dict[str, Any]:
    """Prints the speed of `prepare`."""
    results = {}
    print(f"\nprepare, {megabytes:,.0f} MB of UTF-8")
    for level in LEVELS:
        output = folder / f"{level}.ids"
        result = child("prepare_once", str(folder / "large.txt"), str(output), level)
        results[level] = result
        print(
            f"  {level:10} {megabytes / result['seconds']:6.1f} MB/s, at most "
            f"{result['mb']:,.0f} MB of memory, a vocabulary of {result['size']:,}"
        )
    return results


def report_train(folder: Path, megabytes: float) -> dict[str, Any]:
    """Prints memory and speed of a training."""
    large, small = str(folder / "character.ids"), str(folder / "small.ids")
    print(f"\ntrain on {megabytes:,.0f} MB")
    result = {}
    for kind in ("sequences", "lines"):
        result[kind] = child("train_once", large, kind)
        print(
            f"  {kind:10} {result[kind]['mb']:,.0f} MB more than the import of "
            f"TensorFlow, with batches of {result[kind]['shapes']}; first batch "
            f"after {result[kind]['first']:.2f} s"
        )
    rates = child("compare_sizes", large, small)
    print(f"  speed / that on 10 MB: {rates['large'] / rates['small']:.2f}")
    return {**result, **rates}


def report_processes(folder: Path, megabytes: float) -> dict[str, Any]:
    """Prints the memory of processes that share a corpus."""
    path, number = str(folder / "character.ids"), 4
    launch = [sys.executable, "-m", "textgen", "launch", "--processes", str(number)]
    print(f"\n{number} processes that share {megabytes:,.0f} MB")
    result = {}
    for kind in ("sequences", "lines"):
        command = [*launch, __file__, "--child", "train_share", path, kind, str(folder)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        files = [folder / f"{kind}-{index}" for index in range(number)]
        result[kind] = [float(file.read_text()) for file in files]
        shown = ", ".join(f"{each:.0f}" for each in result[kind])
        print(f"  {kind:10} {shown} MB more than the import of JAX")
    return result


def report_lines(folder: Path, _: float) -> dict[str, Any]:
    """Prints memory and speed of lines."""
    path = str(folder / "lines.ids")
    result = {**child("train_once", path, "lines"), **child("compare_lines", path)}
    print(
        f"\n{result['count']:,} lines, the longest of {result['longest']:,} characters:"
        f" {result['mb']:,.0f} MB more than the import of TensorFlow, with batches of "
        f"{result['shapes']}; first batch after {result['first']:.1f} s; "
        f"{result['lines']:,.0f} characters/s, running text {result['text']:,.0f}: "
        f"{result['lines'] / result['text']:.2f}"
    )
    return result


def report_words(folder: Path, _: float) -> dict[str, Any]:
    """Prints the memory of a large vocabulary."""
    result = child("many_words", str(folder / "small.txt"))
    print(
        f"\n{result['size']:,} words: {result['training']:,.0f} MB more after training "
        f"steps of 32 x 32, {result['mb']:,.0f} MB with `score` of 1 MB"
    )
    return result


def make_texts(folder: Path, parts: list[str], gigabytes: float) -> float:
    """Makes the texts that the parts need; returns the size of the large one in MB."""
    megabytes = 0.0
    large = {"train", "processes"} & set(parts)
    if large or "prepare" in parts:
        megabytes = write_text(folder / "large.txt", gigabytes * 1e9)
    write_text(folder / "small.txt", 1e7)
    if large:
        textgen.prepare(folder / "small.txt", folder / "small.ids")
        if "prepare" not in parts:
            textgen.prepare(folder / "large.txt", folder / "character.ids")
    if "lines" in parts:
        textgen.prepare(million_lines(), folder / "lines.ids")
    return megabytes


def million_lines() -> Iterator[str]:
    """Yields a million lines, one of them of a million characters."""
    count = 0
    for seed in itertools.count():
        for line in block(seed).split("\n"):
            if count == 500_000:
                yield block(99, lines=False)[:1_000_000]
            elif count == 1_000_000:
                return
            yield line or "-"
            count += 1


PARTS = {
    "prepare": report_prepare,
    "train": report_train,
    "processes": report_processes,
    "lines": report_lines,
    "words": report_words,
    "sampled": report_sampled,
}
CHILDREN = {
    function.__name__: function
    for function in (
        *(prepare_once, train_once, compare_sizes, compare_lines, many_words),
        *(compare_sampled, train_share),
    )
}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(CHILDREN[sys.argv[2]](*sys.argv[3:])))
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: all)"
    )
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of the text")
    parser.add_argument("--folder", help="where the texts are made (default: TMPDIR)")
    arguments = parser.parse_args()
    chosen = arguments.parts or [part for part in PARTS if part != "processes"]
    for part in chosen:
        if part not in PARTS:
            parser.error(f"{part!r} must be one of {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        megabytes = make_texts(folder, chosen, arguments.gigabytes)
        results: dict[str, Any] = {"machine": platform.machine()}
        for part in chosen:
            results[part] = PARTS[part](folder, megabytes)
    with open("benchmark-corpus.json", "w") as file:
        json.dump(results, file, indent=1)
