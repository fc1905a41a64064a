#!/usr/bin/env bash
# Builds the wheel, installs it into a new environment, and trains and generates with it
# in an empty folder, where Python cannot import the repository.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

mkdir "$work/wheel" "$work/empty"
# A copy, because setuptools leaves its build folder in the source tree.
cd "$repository"
git ls-files -z --cached --others --exclude-standard |
    tar --null --files-from - --create | tar --extract --directory "$work/wheel"
"${PYTHON:-python3}" -m venv "$work/venv"
pip="$work/venv/bin/python -m pip --disable-pip-version-check"
$pip wheel --quiet --no-deps --wheel-dir "$work" "$work/wheel"
$pip install --quiet "$work"/keras_textgen-*.whl

cd "$work/empty"
unset PYTHONPATH TEXTGEN_DATA
textgen="$work/venv/bin/textgen"
$textgen train dinosaurs --lines --lowercase --cell simple_rnn --units 64 \
    --batch-size 32 --epochs 2 --log curve.csv -o names.keras
$textgen generate names.keras --count 5 --seed 1 | tee names.txt
test "$(wc -l <names.txt)" -eq 5
test "$(wc -l <curve.csv)" -eq 3
$textgen list | grep -q "textgen generate dinosaurs"
$textgen generate dinosaurs --count 5 --seed 1 | tee names.txt
test "$(grep -c . names.txt)" -eq 5
TF_CPP_MIN_LOG_LEVEL=3 "$work/venv/bin/python" -c '
import pathlib, textgen
assert "site-packages" in textgen.__file__, textgen.__file__
assert [textgen.load(name) for name in textgen.PRETRAINED]
assert len(textgen.load_corpus("dinosaurs").splitlines()) >= 1000
text = textgen.load("names.keras").generate("tyr", 10, seed=1)
assert text.startswith("tyr"), text
assert {path.name for path in pathlib.Path().iterdir()} == {
    "names.keras", "names.checkpoints", "names.txt", "curve.csv"
}'
echo "The wheel trains and generates on its own."
