"""Frozen layers: their paths are saved in the file of a model."""

from collections.abc import Iterator
from typing import Any

import keras


def frozen(model: keras.Model) -> list[str]:
    """Returns the paths of the layers of a model that are not trainable."""
    return [path for path, layer in _layers(model) if not layer.trainable]


def freeze(model: keras.Model, paths: list[str]) -> None:
    """Makes the layers with these paths not trainable, and all others trainable."""
    layers = dict(_layers(model))
    for layer in layers.values():
        layer.trainable = True
    for path in paths:
        if path in layers:
            layers[path].trainable = False


def _layers(model: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the path and the layer of all nested layers, outer layers first."""
    for layer in model.layers:
        yield f"{path}{layer.name}", layer
        if hasattr(layer, "layers"):
            yield from _layers(layer, f"{path}{layer.name}/")
