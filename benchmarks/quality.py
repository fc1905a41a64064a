"""Trains on tinyshakespeare for 130 seconds of the process, for `train.py`.

    python benchmarks/quality.py [--seconds 130] [--units 512]

Runs `textgen train tinyshakespeare --minutes …` as a user does: it chooses network and
training, and trains on the first 90 % of the text. The time is that of the complete
process. The validation loss is measured afterwards, on every character of the last
10 %, with the state carried through the text. Other options of `textgen train` can
follow. The last line of the output is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import textgen

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--seconds", type=float, default=130.0, help="time for training")
arguments, options = parser.parse_known_args()

with tempfile.TemporaryDirectory() as folder:
    output = Path(folder, "model.keras")
    command = [sys.executable, "-m", "textgen", "train", "tinyshakespeare"]
    command += ["--minutes", f"{arguments.seconds / 60:.6f}", "--output", str(output)]
    start = time.time()
    subprocess.run([*command, *options], check=True)
    seconds = time.time() - start
    model = textgen.load(output)

text = textgen.load_corpus("tinyshakespeare")
score = model.score(textgen.split(text, 0.1)[1])
result = {
    "seconds": seconds,
    "units": model.units,
    "steps": model.notes["steps"],
    "validation_loss": score.nats,
}
print(json.dumps(result))
