"""Checks how a functional model of a configuration is connected."""

from typing import Any

from textgen.models import fields
from textgen.models.fields import refuse


class GraphRules:
    """Mixin of `textgen.models.configuration.Checker`: the graphs of models."""

    def check_object(self, value: Any, where: str, kind: str) -> None:
        """Checks a serialized object of a role, such as a layer."""
        raise NotImplementedError

    def check_fields(self, config: Any, where: str, rules: Any) -> None:
        """Checks every field of an object by its rule."""
        raise NotImplementedError

    def check_graph(self, value: Any, where: str) -> None:
        """Checks the layers of a functional model, and how they are connected."""
        if type(value) is not list:
            refuse(value, where, "a list of layers")
        for index, layer in enumerate(value):
            place = f"{where}[{index}]"
            if type(layer) is not dict or not {"name", "inbound_nodes"} <= set(layer):
                refuse(layer, place, "a layer with a name and its inputs")
            fields.TEXT(self, layer["name"], f"{place}.name")
            inner = {
                key: each
                for key, each in layer.items()
                if key not in ("name", "inbound_nodes")
            }
            is_operation = inner.get("module") == "keras.src.ops.numpy"
            self.check_object(inner, place, "operation" if is_operation else "layer")
            nodes = layer["inbound_nodes"]
            if type(nodes) is not list:
                refuse(nodes, f"{place}.inbound_nodes", "a list")
            for node in nodes:
                if type(node) is not dict or set(node) != {"args", "kwargs"}:
                    refuse(node, f"{place}.inbound_nodes", "args and kwargs")
                if type(node["args"]) is not list or type(node["kwargs"]) is not dict:
                    refuse(node, f"{place}.inbound_nodes", "args and kwargs")
                for each in (*node["args"], *node["kwargs"].values()):
                    self._check_argument(each, f"{place}.inbound_nodes")

    def _check_argument(self, value: Any, where: str) -> None:
        """Checks an argument of a call of a layer: tensors, numbers, `null`."""
        if type(value) is list:
            for item in value:
                self._check_argument(item, where)
        elif type(value) is dict:
            if set(value) != {"class_name", "config"} or (
                value["class_name"] != "__keras_tensor__"
            ):
                refuse(value, where, "a tensor")
            rules = {
                "shape": fields.each(fields.optional(fields.integer(0)), 16),
                "dtype": fields.DTYPE,
                "keras_history": _place,
            }
            self.check_fields(value["config"], where, rules)
            if set(value["config"]) != set(rules):
                refuse(value, where, "a tensor")
        elif value is not None and type(value) is not bool:
            fields.NUMBER(self, value, where)

    def check_ends(self, value: Any, where: str) -> None:
        """Checks the inputs or the outputs of a functional model."""
        if type(value) is list and value and type(value[0]) is list:
            for item in value:
                _place(self, item, where)
        else:
            _place(self, value, where)


def _place(checker: Any, value: Any, where: str) -> None:
    """A tensor of a graph: name of the layer, number of the call, of the output."""
    if (
        type(value) is not list
        or [type(item) for item in value] != [str, int, int]
        or min(value[1:]) < 0
    ):
        refuse(value, where, "the place of a tensor")
