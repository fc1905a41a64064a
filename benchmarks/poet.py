"""Measures exported pages in a headless Chromium: speed, exactness, size.

    python benchmarks/poet.py

needs Chromium and the extra `browser`. For the pretrained model `tinyshakespeare` (one
LSTM of 512 units) and for untrained models of the same vocabulary, it prints

- characters per second: 600 characters that the page writes and shows, from the press
  of the button to the end, the median of several texts;
- the time from opening the file until the page can write;
- the largest difference of a logit from the Keras model in float32, for 500 random ids;
- the size of the file.

Each with weights in 32 and in 16 bits. The pages take turns. Writes
benchmark-poet.json.
"""

import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from playwright import sync_api

import textgen
from textgen.export.page import SCRIPTS

ROUNDS = 3
CHARACTERS = 600
STEPS = 500


def models() -> dict[str, Any]:
    """Returns the models by name."""
    plays = textgen.load("tinyshakespeare")
    keras.utils.set_random_seed(0)

    def new(**options: Any) -> Any:
        model = textgen.LanguageModel(
            plays.vocabulary, embedding=64, return_sequences=True, **options
        )
        # The logits get the size of those of a trained model, on texts.
        largest = np.abs(logits_of(model, ids_of(model))).max()
        kernel = model.output_layer.kernel
        kernel.assign(kernel * (10 / largest))
        return model

    return {
        "lstm 512 (tinyshakespeare)": plays,
        "gru 512": new(cell="gru", units=512),
        "simple_rnn 512": new(cell="simple_rnn", units=512),
        "lstm 512, 512": new(units=(512, 512)),
        "dinosaurs (lstm 192)": textgen.load("dinosaurs"),
        "shakespeare (lstm 128, 128, window of 40)": textgen.load("shakespeare"),
        "tang-poems (lstm 512, 5,387 characters)": textgen.load("tang-poems"),
    }


def ids_of(model: Any) -> np.ndarray:
    """Returns ids to read, `(STEPS,)`."""
    return np.random.default_rng(0).integers(0, len(model.vocabulary), STEPS)


def logits_of(model: Any, ids: np.ndarray) -> np.ndarray:
    """Returns the logits of the Keras model after each id, `(STEPS, V)`."""
    if model.return_sequences:
        return model.predict_on_batch(ids[np.newaxis])[0]
    length = model.sequence_length
    padded = np.concatenate([np.full(length, -1), ids])
    windows = np.lib.stride_tricks.sliding_window_view(padded, length)[1:]
    return model.predict(windows, verbose=0)


def opened(browser: Any, path: Path) -> tuple[Any, float]:
    """Returns an open page, and the seconds until it could write."""
    page = browser.new_page()
    start = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector("#write[aria-disabled=false]")
    seconds = time.perf_counter() - start
    page.locator("#settings").evaluate("each => each.open = true")
    return page, seconds


def speed(page: Any, model: Any) -> float:
    """Returns characters per second of a text, or of many lines."""
    lines = model.end_token is not None
    page.fill("#length", str(CHARACTERS // 10 if lines else CHARACTERS))
    start = time.perf_counter()
    page.click("#write")
    page.wait_for_selector("#continue[aria-disabled=false]", timeout=300_000)
    seconds = time.perf_counter() - start
    text = page.locator("#text").evaluate("each => each.textContent")
    return len(text) / seconds


def measure(browser: Any, folder: Path) -> dict[str, dict[str, float]]:
    """Returns the numbers of each page by its name."""
    pages, results = {}, {}
    for name, model in models().items():
        ids = ids_of(model)
        expected = logits_of(model, ids)
        for half in (False, True):
            path = folder / "poet.html"
            textgen.export_html(model, path, half=half)
            page, seconds = opened(browser, path)
            found = page.evaluate("ids => poet.logits(ids)", ids.tolist())
            key = f"{name}, {16 if half else 32} bits"
            pages[key] = page, model
            results[key] = {
                "megabytes": path.stat().st_size / 1e6,
                "seconds_to_open": seconds,
                "difference": float(np.abs(np.array(found) - expected).max()),
                "largest_logit": float(np.abs(expected).max()),
            }
    speeds: dict[str, list[float]] = {key: [] for key in pages}
    for _ in range(ROUNDS):
        for key, (page, model) in pages.items():
            speeds[key].append(speed(page, model))
    for key, values in speeds.items():
        results[key]["characters_per_second"] = statistics.median(values)
        results[key]["slowest"] = min(values)
    return results


def main() -> None:
    """Measures, prints a table, and writes the JSON file."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("Chromium is not installed: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name, sync_api.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=program, args=["--no-sandbox"]
        )
        results = measure(browser, Path(name))
        version = browser.version
        browser.close()
    parts = Path(textgen.__file__).parent / "export"
    code = sum(
        (parts / each).stat().st_size for each in (*SCRIPTS, "page.html", "page.css")
    )
    print(f"Chromium {version}, {platform.machine()}, load {os.getloadavg()[0]:.1f}")
    print(f"The code of a page: {code:,} bytes.\n")
    print(
        "| page | characters/s (slowest) | opens in | difference | largest logit | MB |"
    )
    print("|---|---|---|---|---|---|")
    for key, each in results.items():
        print(
            f"| {key} | {each['characters_per_second']:,.0f} ({each['slowest']:,.0f}) "
            f"| {each['seconds_to_open']:.2f} s | {each['difference']:.1e} "
            f"| {each['largest_logit']:.1f} "
            f"| {each['megabytes']:.1f} |"
        )
    Path("benchmark-poet.json").write_text(
        json.dumps(
            {"chromium": version, "code_bytes": code, "pages": results}, indent=1
        )
    )


if __name__ == "__main__":
    main()
