"""Checks the configuration of a model file before Keras sees it.

Keras builds what a configuration names, with any arguments: this can call functions,
read files, and use the network. Here, everything that a configuration may name is in a
list: textgen's models, the layers that they may contain, Keras's activations,
initializers, optimizers, losses and so on. A class or a function of the user is allowed
where it has the right base class, if the program registered it with
`keras.saving.register_keras_serializable` before. Nothing is imported. Keras's own
switch for unsafe files changes nothing.
"""

import re
import types
from collections.abc import Mapping
from typing import Any

import keras

from textgen.models import allowed, fields
from textgen.models.fields import refuse
from textgen.models.graphs import GraphRules
from textgen.text import tokenizers

_MODELS = {
    "textgen>LanguageModel": fields.LANGUAGE_MODEL,
    "textgen>KerasWriter": fields.KERAS_WRITER,
}
_PARTS = ("module", "class_name", "config", "registered_name")
_MOST_METRICS = 100


class UnknownCodeError(ValueError):
    """A configuration names a class or function that is not part of the program."""


def check(config: Mapping[str, Any], limits: Mapping[str, int], complete: bool) -> str:
    """Checks the configuration of a model, but not how it was compiled.

    Args:
        config: Content of `config.json`.
        limits: As `allowed.LIMITS`.
        complete: bool. Whether a missing field is an error; older versions of textgen
            had fewer fields.

    Returns:
        The registered name of the class: `"textgen>LanguageModel"` or
        `"textgen>KerasWriter"`.

    Raises:
        ValueError: The configuration is not one of a textgen model, or names something
            that is not in the lists of `textgen.models.allowed`; the message names the
            field.
    """
    checker = Checker(limits)
    name = config.get("registered_name")
    if type(name) is not str or name not in _MODELS:
        kind = config.get("class_name")
        raise ValueError(
            f"it contains a {kind}, which has no vocabulary: load it with Keras, and "
            "add a vocabulary with textgen.from_keras"
            if isinstance(kind, str) and kind in ("Functional", "Sequential", "Model")
            else f"it contains {kind!r}, which is not a model of textgen"
        )
    if config.get("class_name") != name.removeprefix("textgen>"):
        refuse(config.get("class_name"), "class_name", f"the class of {name}")
    checker.check_textgen_module(config)
    checker.check_keys(config, "the model")
    rules = _MODELS[name]
    checker.check_fields(config.get("config"), "model", rules)
    missing = set(rules) - set(config["config"]) - fields.OPTIONAL
    if not complete:
        missing -= fields.NEW_FIELDS
    if missing:
        raise ValueError(f"the field {min(missing)!r} is missing")
    return name


def check_compilation(
    config: Mapping[str, Any] | None, limits: Mapping[str, int]
) -> dict[str, Any] | None:
    """Checks how a model was compiled.

    Args:
        config: `compile_config` of the model.
        limits: As `allowed.LIMITS`.

    Returns:
        The configuration, or `None` if the model was not compiled.

    Raises:
        UnknownCodeError: The optimizer, the loss or a metric is code of the user that
            this program has not registered.
        ValueError: The configuration is not allowed; the message names the field.
    """
    if config is None or config == {}:
        return None
    checker = Checker(limits)
    checker.check_fields(config, "compile", fields.COMPILATION)
    if "optimizer" not in config:
        raise ValueError("the field 'optimizer' is missing")
    return dict(config)


class Checker(GraphRules):
    """Checks parts of one configuration; the rules of `textgen.models.fields` call it.

    Args:
        limits: As `allowed.LIMITS`.
    """

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.limits = limits
        self._layers = self._metrics = 0
        self._shared: dict[int, Any] = {}

    # === Objects ===

    def check_fields(
        self, config: Any, where: str, rules: Mapping[str, fields.Rule]
    ) -> None:
        """Checks every field of an object by its rule."""
        if type(config) is not dict:
            refuse(config, where, "an object")
        for name, value in config.items():
            if name not in rules:
                raise ValueError(f"{where} has the unknown field {name!r}")
            rules[name](self, value, f"{where}.{name}")

    def check_keys(self, value: Mapping[str, Any], where: str) -> None:
        """Checks the parts of a serialized object other than its fields."""
        known = {*_PARTS, "build_config", "compile_config", "shared_object_id"}
        if not set(_PARTS) <= set(value):
            refuse(value, where, "a complete serialized object")
        if extra := set(value) - known:
            raise ValueError(f"{where} has the unknown field {min(extra)!r}")
        self._check_built(value.get("build_config"), where)

    def check_textgen_module(self, value: Mapping[str, Any]) -> None:
        """Checks the module of a class of textgen; modules were renamed in the past."""
        module = value.get("module")
        if type(module) is not str or not re.fullmatch(r"textgen(\.\w+)+", module):
            refuse(module, "module", "a module of textgen")

    def check_object(self, value: Any, where: str, kind: str) -> None:
        """Checks a serialized object of a role, such as a layer."""
        if type(value) is not dict:
            refuse(value, where, f"a serialized {kind}")
        if kind == "layer":
            kind = {"Functional": "functional", "Sequential": "sequential"}.get(
                str(value.get("class_name")), "layer"
            )
        role = allowed.ROLES[kind]
        if value.get("class_name") == "function" and role.functions is not None:
            self._check_function(value, where, role.functions, kind)
            return
        self.check_keys(value, where)
        if value.get("compile_config"):
            raise ValueError(f"{where} is compiled; only the complete model may be")
        if kind in ("layer", "functional", "sequential", "network"):
            self._count_layer()
        if kind == "metric":
            self._metrics += 1
            if self._metrics > _MOST_METRICS:
                raise ValueError(f"it has more than {_MOST_METRICS} metrics")
        self._check_shared(value, where)
        rules = self._find_rules(value, where, kind, role)
        if rules is None:
            self._check_plain(value["config"], f"{where}.config")
        else:
            name = value["class_name"]
            config = {} if value["config"] is None else value["config"]
            self.check_fields(config, f"{where}.{name}", rules)

    def _find_rules(
        self, value: Mapping[str, Any], where: str, kind: str, role: allowed.Role
    ) -> Mapping[str, fields.Rule] | None:
        """Returns the fields of the class of an object; `None` for code of the user."""
        name, module = value["class_name"], value["module"]
        registered = value["registered_name"]
        if type(name) is not str:
            refuse(name, f"{where}.class_name", "a string")
        if registered in (None, name) and module in role.modules:
            # Classes without a public name are registered by their own name.
            private = kind in ("functional", "network", "operation")
            if name in role.names and (registered is None or private):
                return role.rules
            raise ValueError(f"{where} is the {kind} {module}.{name}: not allowed")
        own = registered == f"textgen>{name}"
        if own:
            self.check_textgen_module(value)
        if kind == "layer" and own and name in allowed.TEXTGEN_LAYERS:
            return role.rules
        if type(registered) is not str or role.base is None or _is_keras(module):
            raise ValueError(f"{where} is the {kind} {module}.{name}: not allowed")
        found = keras.saving.get_registered_object(registered)
        if found is None:
            raise UnknownCodeError(
                f"{where} is {registered!r}, which is not registered"
            )
        if not (isinstance(found, type) and issubclass(found, role.base)):
            raise ValueError(f"{where} is {registered!r}, which is not a {kind}")
        return role.rules if own else None

    def _check_function(
        self, value: Mapping[str, Any], where: str, names: tuple[str, ...], kind: str
    ) -> None:
        """Checks a serialized function: one of Keras's, or a registered one."""
        known = {*_PARTS, "shared_object_id"}
        name, module = value.get("config"), value.get("module")
        if set(value) - known or type(name) is not str:
            refuse(value, where, "a serialized function")
        found = keras.saving.get_registered_object(name)
        if found is not None:
            if not isinstance(found, types.FunctionType):
                raise ValueError(f"{where} is {name!r}, which is not a function")
            return
        label = {"activation": "activations", "loss": "losses"}.get(kind, "metrics")
        if (
            name in names
            and module in ("builtins", f"keras.{label}")
            and value.get("registered_name") in ("function", name)
        ):
            return
        if _is_keras(module) or kind == "activation":
            raise ValueError(f"{where} is the function {module}.{name}: not allowed")
        raise UnknownCodeError(f"{where} is {name!r}, which is not registered")

    def _check_plain(self, value: Any, where: str) -> None:
        """Checks the fields of a class of the user: nothing that Keras would build."""
        if type(value) is list:
            for index, item in enumerate(value):
                self._check_plain(item, f"{where}[{index}]")
        elif type(value) is dict:
            if "class_name" in value or "config" in value:
                self._check_any(value, where)
                return
            for name, item in value.items():
                self._check_plain(item, f"{where}.{name}")

    def _check_any(self, value: dict[str, Any], where: str) -> None:
        """Checks an object inside an object of the user, in any of the roles."""
        for kind in ("loss", "metric", "optimizer", "initializer", "schedule", "layer"):
            try:
                self.check_object(value, where, kind)
                return
            except ValueError:
                continue
        self.check_activation(value, where)

    def _check_shared(self, value: Mapping[str, Any], where: str) -> None:
        """Checks that objects with one identifier are the same: Keras builds one."""
        if "shared_object_id" not in value:
            return
        number = value["shared_object_id"]
        if type(number) is not int:
            refuse(number, f"{where}.shared_object_id", "an integer")
        same = {name: value[name] for name in ("module", "class_name", "config")}
        if self._shared.setdefault(number, same) != same:
            raise ValueError(f"{where} has the shared_object_id of another object")

    def _check_built(self, value: Any, where: str) -> None:
        """Checks `build_config`: the shapes that a layer was built for."""
        if value is None:
            return
        where = f"{where}.build_config"
        shapes = value
        if type(value) is dict and set(value) == {"shapes_dict"}:
            shapes = value["shapes_dict"]
        if type(shapes) is not dict or not all(
            re.fullmatch(r"\w*shape", str(name)) for name in shapes
        ):
            refuse(value, where, "the shapes of a layer")
        dimension = fields.optional(fields.integer(0))
        rule = fields.optional(fields.each(fields.one_or_more(dimension), 64))
        for shape in shapes.values():
            rule(self, shape, where)

    def _count_layer(self) -> None:
        self._layers += 1
        if self._layers > self.limits["layers"]:
            raise ValueError(
                f"it has more than {self.limits['layers']:,} layers; textgen.load has "
                "an argument for this limit"
            )

    # === Rules that need the checker ===

    def check_activation(self, value: Any, where: str) -> None:
        """Checks the activation of a layer: a name, a function, or a layer."""
        if type(value) is str:
            fields.one_of(*allowed.ACTIVATIONS)(self, value, where)
        elif type(value) is dict and value.get("class_name") == "function":
            self._check_function(value, where, allowed.ACTIVATIONS, "activation")
        else:
            self.check_object(value, where, "layer")

    def check_activation_name(self, value: Any, where: str) -> None:
        """Checks the activation of a `LanguageModel`, which is a name."""
        found = (
            keras.saving.get_registered_object(value) if type(value) is str else None
        )
        if not isinstance(found, types.FunctionType):
            fields.one_of(*allowed.ACTIVATIONS)(self, value, where)

    def check_initializer(self, value: Any, where: str) -> None:
        """Checks the initializer of a `LanguageModel`: a name or an object."""
        if type(value) is str:
            fields.one_of(*allowed.INITIALIZER_NAMES)(self, value, where)
        else:
            self.check_object(value, where, "initializer")

    def check_constant(self, value: Any, where: str) -> None:
        """Checks the value of a constant initializer: a number or an array."""
        if type(value) is not dict:
            fields.NUMBER(self, value, where)
            return
        if value.get("class_name") not in ("__numpy__", "__tensor__") or (
            set(value) != {"class_name", "config"}
        ):
            refuse(value, where, "a number or an array")
        self.check_fields(
            value["config"], where, {"value": _numbers, "dtype": fields.DTYPE}
        )

    def check_learning_rate(self, value: Any, where: str) -> None:
        """Checks a learning rate: a number, or a schedule."""
        if type(value) is dict:
            self.check_object(value, where, "schedule")
        else:
            fields.number(0, fields.LARGEST_RATE)(self, value, where)

    def check_losses(self, value: Any, where: str) -> None:
        """Checks the loss of a compiled model."""
        self._check_named(value, where, "loss")

    def check_metrics(self, value: Any, where: str) -> None:
        """Checks the metrics of a compiled model: nested lists and dicts of them."""
        if type(value) is dict and "class_name" not in value:
            for name, item in value.items():
                self.check_metrics(item, f"{where}.{name}")
        elif type(value) is list:
            for index, item in enumerate(value):
                self.check_metrics(item, f"{where}[{index}]")
        elif value is not None:
            self._check_named(value, where, "metric")

    def _check_named(self, value: Any, where: str, kind: str) -> None:
        if type(value) is str:
            fields.one_of(*allowed.NAMES)(self, value, where)
        else:
            self.check_object(value, where, kind)

    def check_vocabulary(self, value: Any, where: str) -> None:
        """Checks a tokenizer; a vocabulary is complete, sorted, without repetition."""
        if type(value) is dict and value.get("level") in tokenizers.BYTE_LEVELS:
            try:
                size = len(tokenizers.from_config(value))
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            if size > self.limits["units"]:
                most = self.limits["units"]
                raise ValueError(f"{where} has {size:,} tokens, more than {most:,}")
            return
        self.check_fields(value, where, fields.VOCABULARY)
        if set(value) != set(fields.VOCABULARY):
            refuse(value, where, "a complete vocabulary")
        symbols = value["symbols"]
        if not symbols or len(symbols) > self.limits["units"]:
            most = self.limits["units"]
            refuse(symbols, f"{where}.symbols", f"a list of 1 to {most:,} symbols")
        if symbols != sorted(set(symbols)):
            raise ValueError(f"{where}.symbols must be sorted, without repetition")

    def check_units(self, value: Any, where: str) -> None:
        """Checks the units of the layers of a `LanguageModel`."""
        fields.each(fields.UNITS)(self, value, where)
        for _ in value:
            self._count_layer()
        if not value:
            refuse(value, where, "a list of positive integers")


def _numbers(checker: Checker, value: Any, where: str) -> None:
    """Nested lists of numbers."""
    if type(value) is list:
        for item in value:
            _numbers(checker, item, where)
    elif type(value) is not bool:
        fields.NUMBER(checker, value, where)


def _is_keras(module: Any) -> bool:
    """Whether a module is one of Keras, and thus not one of the user."""
    if module is None:  # the program itself, `__main__`
        return False
    return type(module) is not str or module.split(".")[0].startswith("keras")
