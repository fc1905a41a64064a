"""Checks of `textgen train` before the training: options, files, space, a resume."""

import argparse
import errno
import math
import os
import shutil
from pathlib import Path
from typing import Any

from textgen.cli import common, options
from textgen.layers.cells import GATES
from textgen.text import sources, splits

# A resumed training must repeat these options.
SAME = (
    *("lowercase", "level", "vocabulary_size", "validation", "many_to_many", "lines"),
    *("min_count", "normalization", "replace_invalid", "keep_line_ends", "field"),
    "label_field",
    *("source_model", "extend_vocabulary"),
    *("cell", "units", "embedding", "tie_weights", "layer_norm", "dropout"),
    *("recurrent_dropout", "weight_dropout", "sequence_length", "precision", "jit"),
    *("gradient_accumulation_steps", "seed", "deterministic", "windows", "stateful"),
    "sampled_softmax",
)

# These can change after an epoch, but not within it.
SAME_IN_EPOCH = ("batch_size", "sequence_stride", "steps_per_epoch")

# A resumed training takes these from the checkpoint if its command has none.
REPEATED = (
    *("minutes", "epochs", "learning_rate", "schedule", "warmup_steps", "beta_2"),
    *("weight_decay", "clip_value", "clip_norm", "early_stopping"),
)

MINIMUMS = {
    "units": 1,
    "embedding": 0,
    **options.TEXT_MINIMUMS,
    "sequence_length": 1,
    "sequence_stride": 1,
    "epochs": 1,
    "batch_size": 1,
    "max_new_tokens": 0,
    "warmup_steps": 0,
    "weight_decay": 0,
    "gradient_accumulation_steps": 1,
    "early_stopping": 1,
    "sampled_softmax": 0,
    "temperatures": 0,
    "seed": 0,
    "keep": 1,
}

MAX_MINUTES = 1e6  # two years

MAX_RATE = 1e6  # larger learning rates are refused in model files

MAX_SEED = 2**32 - 1  # of NumPy's global random generator, which Keras seeds


def check_values(arguments: argparse.Namespace) -> None:
    """Raises ValueError or OSError for options that would only fail later."""
    limits = {"learning_rate": MAX_RATE, "minutes": MAX_MINUTES}
    for name in ("learning_rate", "clip_value", "clip_norm", "minutes"):
        value, most = getattr(arguments, name), limits.get(name, math.inf)
        if value is not None and (not 0 < value <= most or value == math.inf):
            option = options.option_name(name)
            limit = "and finite" if most == math.inf else f"and at most {most:g}"
            raise ValueError(f"{option} {value} must be positive {limit}.")
    if arguments.beta_2 is not None and not 0 <= arguments.beta_2 < 1:
        raise ValueError(
            f"--beta-2 {arguments.beta_2} must be at least 0 and less than 1."
        )
    if arguments.validation is not None:
        splits.check_share(arguments.validation)
    options.check_minimums(arguments, MINIMUMS)
    if arguments.seed > MAX_SEED:
        raise ValueError(f"--seed {arguments.seed} must be at most {MAX_SEED}.")
    passes = arguments.windows or arguments.epochs is not None
    if (arguments.schedule or arguments.warmup_steps) and (
        arguments.minutes is not None or not passes
    ):
        option = "--schedule" if arguments.schedule else "--warmup-steps"
        raise ValueError(
            f"{option} needs --epochs, and not --minutes: otherwise the learning rate "
            "rises and falls with the clock."
        )
    check_combinations(arguments)


def check_combinations(arguments: argparse.Namespace) -> None:
    """Raises ValueError for options that exclude each other, as far as they are known.

    It is called twice: for the given options, and for the chosen ones.
    """
    units, size = arguments.units, arguments.embedding
    if arguments.tie_weights and units and size is not None and size != units[-1]:
        raise ValueError(
            f"--tie-weights needs --embedding {units[-1]}, as many as the last of "
            "--units."
        )
    if arguments.label_field and (arguments.windows or arguments.many_to_many):
        raise ValueError(
            "--label-field: labels belong to lines. Use --lines, and no other kind of "
            "data."
        )
    if arguments.early_stopping and arguments.validation == 0:
        raise ValueError("--early-stopping needs a --validation above 0.")


def checkpoint_folder(output: Path, arguments: argparse.Namespace) -> Path:
    """Returns the folder of the checkpoints, checked before any work is done."""
    if arguments.checkpoint is None:
        return output.with_suffix(".checkpoints")
    folder = Path(arguments.checkpoint)
    common.check_folder(folder, "--checkpoint")
    return folder


def options_to_repeat(
    arguments: argparse.Namespace, length: int | None
) -> dict[str, Any]:
    """Returns the options that a resumed training must repeat, by their attributes.

    Args:
        arguments: The parsed arguments.
        length: int or `None`. The sequence length, whose default depends on the text.
    """
    names = SAME + SAME_IN_EPOCH + REPEATED
    values = {name: getattr(arguments, name) for name in names}
    return {**values, "sequence_length": length}


def check_text(
    now: dict[str, Any],
    before: dict[str, Any],
    checkpoints: Any,
    arguments: argparse.Namespace,
) -> None:
    """Raises ValueError if a resumed training has another text.

    Args:
        now: The notes of this run.
        before: The notes of the checkpoint.
        checkpoints: `textgen.Checkpoints`.
        arguments: The parsed arguments of this run.
    """
    texts = [each.get("corpus_sha256") for each in (before, now)]
    if texts[0] not in (None, texts[1]):
        raise ValueError(
            f"{checkpoints.last} was trained on another text than "
            f"{sources.shortened(arguments.corpus)}: their SHA-256 are {texts[0]} and "
            f"{texts[1]}."
        )


def check_options(
    arguments: argparse.Namespace, before: dict[str, Any], checkpoints: Any
) -> None:
    """Raises ValueError if an option prevents that a training continues exactly.

    Args:
        arguments: The parsed arguments.
        before: The notes of the checkpoint.
        checkpoints: `textgen.Checkpoints`.
    """
    old = before.get("options", {})
    new = options_to_repeat(
        arguments, arguments.sequence_length or old.get("sequence_length")
    )
    for name in (*SAME, *(SAME_IN_EPOCH if checkpoints.step else ())):
        if name in old and old[name] != new[name]:
            when = ""
            if name in SAME_IN_EPOCH:
                when = f" in the middle of epoch {checkpoints.epoch + 1}"
            raise ValueError(
                f"--resume: the training in {checkpoints.folder} has "
                f"{_typed(name, old[name])}, and cannot continue with "
                f"{_typed(name, new[name])}{when}: repeat its options, or start a new "
                "training with another --output."
            )


def _typed(name: str, value: Any) -> str:
    """Returns an option as the user types it: `--units 8 8`, or `no --lines`."""
    option = "--from" if name == "source_model" else options.option_name(name)
    if value is None or (value is False and name != "jit"):
        return f"no {option}"
    if isinstance(value, bool):
        return option if value else f"--no-{name}"
    values = value if isinstance(value, list) else [value]
    return " ".join([option, *map(str, values)])


def check_memory(arguments: argparse.Namespace, symbols: int) -> None:
    """Raises ValueError if this machine cannot train a network of this size."""
    size, weights = arguments.embedding or symbols, symbols * (arguments.embedding or 0)
    for units in arguments.units or []:
        weights += GATES[arguments.cell or "lstm"] * units * (size + units + 1)
        size = units
    weights += (size + 1) * symbols
    # Each weight has a gradient and two moving averages of Adam.
    needed = weights * 4 * (8 if arguments.precision == "float64" else 4)
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return
    if 0 < memory < needed:
        raise ValueError(
            f"--units {' '.join(map(str, arguments.units or []))}: this network has "
            f"{weights:,} weights. Its training needs {_bytes(needed)} of memory, and "
            f"this machine has {_bytes(memory)}. Use fewer --units."
        )


def check_space(model: Any, output: Path, folder: Path, keep: int) -> None:
    """Raises OSError if a disk has too little space for model and checkpoints."""
    size = sum(
        math.prod(variable.shape) * (8 if "64" in str(variable.dtype) else 4)
        for variable in [*model.variables, *model.optimizer.variables]
    )
    existing = sum(
        path.stat().st_size for path in folder.glob("*.keras") if path.is_file()
    )
    # The best checkpoint, and the new one while the oldest one still exists.
    needs = {
        folder: (keep + 2) * size - existing,
        output.parent: size,
    }
    places: dict[int, tuple[Path, int]] = {}
    for place, needed in needs.items():
        while not place.exists():
            place = place.parent
        device = place.stat().st_dev
        places[device] = (place, needed + places.get(device, (place, 0))[1])
    for place, needed in places.values():
        free = shutil.disk_usage(place).free
        if needed > free:
            raise _no_space(
                f"The disk of {place.resolve()} has {_bytes(free)} free. The model and "
                f"its checkpoints need {_bytes(needed)}: delete something, or "
                "use --keep 1, or another disk with --output and --checkpoint."
            )


def _bytes(number: float) -> str:
    """Returns a number of bytes for a reader: `3.2 GB`."""
    unit = 0
    while number >= 1000 and unit < 4:
        number, unit = number / 1000, unit + 1
    return f"{number:.3g} {('bytes', 'kB', 'MB', 'GB', 'TB')[unit]}"


def _no_space(message: str) -> OSError:
    error = OSError(message)
    error.errno = errno.ENOSPC
    return error
