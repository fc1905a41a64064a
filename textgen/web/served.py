"""The models of a server: loaded once, at first use, and described."""

import functools
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from textgen.messages import printable
from textgen.models import catalogue
from textgen.web.guard import RefusedError
from textgen.web.workers import Workers

_CELLS = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN"}

# What else requests can ask for: each is compiled.
_FILTERS: tuple[dict[str, Any], ...] = ({"top_p": 0.9}, {"top_k": 10})


class ServedModels:
    """The models of a server.

    One thread loads and compiles them, so that each is loaded and compiled once,
    however many requests wait for it.

    Args:
        models: Mapping of name, and a model, the path of a `.keras` file or the name of
            a pretrained model. The first one is the default model.

    Raises:
        ValueError: There are no models.
    """

    def __init__(self, models: Mapping[str, Any]) -> None:
        if not models:
            raise ValueError("models is empty: give at least one model.")
        self._sources = dict(models)
        self._loader = Workers(1)
        self._loaded: dict[str, Any] = {}
        self._ready: set[str] = set()
        self.default = next(iter(self._sources))

    def name_of(self, name: str | None) -> str:
        """Returns the name of a model, or the default one for `None`.

        Raises:
            RefusedError: There is no such model.
        """
        if name is None:
            return self.default
        if name not in self._sources:
            known = ", ".join(self._sources)
            shown = printable(name, 100)
            raise RefusedError(404, f"There is no model {shown!r}: use one of {known}.")
        return name

    async def ready(self, name: str) -> Any:
        """Returns a model that is loaded and compiled.

        Raises:
            RefusedError: It cannot be loaded.
        """
        if name in self._ready:
            return self._loaded[name]
        return await self._loader.run(functools.partial(self._prepare, name), True)

    async def descriptions(self) -> list[dict[str, Any]]:
        """Returns what `GET /models` says about each model that can be loaded."""
        found = []
        for name in self._sources:
            try:
                load = functools.partial(self._load, name)
                model = self._loaded.get(name) or await self._loader.run(load, True)
            except RefusedError:
                continue  # `_load` has told it
            found.append(self._describe(name, model))
        return found

    def warm_up(self) -> None:
        """Loads and compiles all models in the background; requests come first."""
        for name in self._sources:
            self._loader.submit(functools.partial(self._prepare, name))
        for name in self._sources:
            self._loader.submit(functools.partial(self._compile_score, name))
        for options in _FILTERS:
            for name in self._sources:
                self._loader.submit(functools.partial(self._compile, name, options))

    def close(self) -> None:
        """Stops loading and compiling."""
        self._loader.close()

    def _load(self, name: str) -> Any:
        """Returns a model. Only the thread of the loader calls it."""
        if name in self._loaded:
            return self._loaded[name]
        source = self._sources[name]
        if isinstance(source, str | os.PathLike):
            from textgen.models.loading import load  # imports Keras

            try:
                source = load(source)
            except (OSError, ValueError) as error:
                message = printable(f"The model {name} cannot be loaded: {error}", 500)
                print(f"textgen serve: error: {message}", file=sys.stderr, flush=True)
                raise RefusedError(500, message) from error
        self._loaded[name] = source
        return source

    def _prepare(self, name: str) -> Any:
        """Returns a model that is compiled for the usual requests."""
        model = self._load(name)
        if name not in self._ready:
            self._compile(name, {})
            self._ready.add(name)
        return model

    def _compile(self, name: str, options: dict[str, Any]) -> None:
        for _ in self._load(name).stream("", 1, stop=(), seed=0, **options):
            pass

    def _compile_score(self, name: str) -> None:
        self._load(name).score(np.zeros(2, np.int32), alternatives=1)

    def _describe(self, name: str, model: Any) -> dict[str, Any]:
        entry = None
        if self._sources[name] == name:
            entry = catalogue.PRETRAINED.get(name)
        return {
            "name": name,
            "title": _title(name, model, entry),
            "level": model.vocabulary.level,
            "tokens": len(model.vocabulary),
            "network": _network(model),
            "lines": model.end_token is not None,
            "labels": list(model.labels),
            "samples": _samples(entry),
        }


def _title(name: str, model: Any, entry: catalogue.Pretrained | None) -> str:
    """Returns what a model generates, or what it was trained on."""
    if entry is not None:
        return entry.description[:1].upper() + entry.description[1:]
    corpus = getattr(model, "notes", {}).get("corpus")
    return f"Trained on {printable(corpus, 80)}" if isinstance(corpus, str) else name


def _network(model: Any) -> str:
    """Returns the kind and the sizes of the network: `LSTM 512`."""
    if hasattr(model, "units"):
        cell = _CELLS.get(model.cell, model.cell)
        return f"{cell} {', '.join(map(str, model.units))}"
    if hasattr(model, "models"):
        return f"blend of {len(model.models)} models"
    return "Keras network"


def _samples(entry: catalogue.Pretrained | None) -> list[str]:
    """Returns the beginning that the catalogue recommends."""
    return [entry.prompt] if entry is not None and entry.prompt else []
