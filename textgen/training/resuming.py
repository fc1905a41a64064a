"""How `fit` finds `Checkpoints` among its callbacks, and continues a training."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

from textgen import distribution
from textgen.batches import Batches, Dataset
from textgen.training import feeding
from textgen.training.checkpoints import Checkpoints
from textgen.training.events import Events
from textgen.training.progress import Progress
from textgen.training.time_budget import TimeBudget


@contextlib.contextmanager
def prepared(model: Any, arguments: dict[str, Any]) -> Iterator[None]:
    """Changes the arguments of Keras's `fit`, which runs in the `with` block.

    Args:
        model: The model that is trained.
        arguments: Arguments of `fit`; changed in place.
    """
    if not distribution.is_first():
        feeding.leave_out_writing(arguments)
    callbacks = feeding.flat(arguments["callbacks"])
    for each in callbacks:
        if isinstance(each, TimeBudget):
            if distribution.processes() > 1:
                raise ValueError(
                    "A TimeBudget needs one clock, so it cannot train with several "
                    "processes: give a number of epochs."
                )
            each.count_validation(_validation_batches(arguments))
        elif isinstance(each, Progress):
            each.expect(arguments["x"], _validation_batches(arguments))
    found = [each for each in callbacks if isinstance(each, Checkpoints)]
    if len(found) > 1:
        raise ValueError("fit must have only one Checkpoints among its callbacks.")
    if not found or not model.compiled:  # then `fit` raises an error
        begin = _read_dataset(model, arguments)
        arguments["callbacks"] = feeding.with_callbacks(
            arguments["callbacks"], begin, model, arguments["verbose"] != 0
        )
        yield
        return
    [checkpoints] = found
    arguments["initial_epoch"] = checkpoints.begin(
        model, arguments["initial_epoch"], arguments["epochs"]
    )
    try:
        facts = checkpoints.data or {}
        seed = facts["seed"] if checkpoints.resumes and facts else _any_seed()
        data = arguments["x"]
        batch_size = arguments["batch_size"]
        arguments.update(feeding.with_dataset(arguments, seed))
        if arguments["x"] is not data and "validation_batch_size" not in arguments:
            arguments["validation_batch_size"] = batch_size
        steps = _number_of_steps(arguments)
        begin = _read_dataset(model, arguments) or feeding.EpochBegin()
        if checkpoints.resumes:
            begin.resume(checkpoints.data, checkpoints.step)
        verbose = arguments["verbose"]
        events = Events(
            feeding.with_callbacks(
                feeding.flat(arguments["callbacks"]), begin, model, verbose != 0
            ),
            checkpoints,
            begin,
            model,
            verbose=verbose,
            epochs=arguments["epochs"],
            steps=steps if begin.feed is None else len(begin.feed),
        )
        arguments["callbacks"] = events
    except BaseException:
        checkpoints.cancel()
        raise
    with checkpoints.watching(events, begin):
        yield


def _read_dataset(model: Any, arguments: dict[str, Any]) -> feeding.EpochBegin | None:
    """Replaces a dataset by what Keras reads."""
    if not isinstance(arguments["x"], Dataset):
        return feeding.EpochBegin() if model.stateful else None
    begin = feeding.EpochBegin.of_dataset(
        arguments["x"],
        arguments["steps_per_epoch"],
        arguments["initial_epoch"],
        model.stateful,
    )
    arguments.update(x=begin.feed, steps_per_epoch=None)
    return begin


def _number_of_steps(arguments: dict[str, Any]) -> int | None:
    """Returns the number of batches per epoch, `None` if it is not known."""
    if arguments["steps_per_epoch"] is not None:
        return arguments["steps_per_epoch"]
    try:
        return len(arguments["x"])
    except TypeError:
        return None


def _validation_batches(arguments: dict[str, Any]) -> float | None:
    """Returns the size of the validation in training batches, `None` if unknown."""
    x, validation = arguments["x"], arguments["validation_data"]
    if not isinstance(x, Batches) or not isinstance(validation, Batches):
        return None
    number = arguments.get("validation_steps") or len(validation)
    rows = validation.largest_batch / x.largest_batch
    steps = 1.0
    if validation.mean_steps and x.mean_steps:
        steps = validation.mean_steps / x.mean_steps
    return number * rows * steps


def _any_seed() -> int:
    """Returns a seed that `keras.utils.set_random_seed` determines."""
    generator = random.Random()
    generator.setstate(random.getstate())  # drawing from it changes nothing
    return generator.getrandbits(31)
