"""The one-way imports of docs/architecture.md, and what `import textgen` loads."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import textgen

FOLDER = Path(textgen.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(FOLDER).with_suffix("").parts)
    for path in FOLDER.rglob("*.py")
)
ANYTHING = None

# Room -> the rooms that it knows, other packages, and packages inside functions only.
# A room is a module or a package of textgen; it also knows itself.
ROOMS = {
    "files": (set(), set(), set()),
    "messages": (set(), set(), set()),
    "html_page": (set(), set(), set()),
    "quiet": (set(), set(), {"keras", "tensorflow"}),
    "hdf5": (set(), {"h5py", "numpy"}, set()),
    "model_file": ({"files", "hdf5", "messages"}, {"numpy"}, set()),
    "keras_internals": (set(), {"keras", "numpy"}, set()),
    "backend": (set(), {"keras"}, {"jax", "tensorflow", "torch"}),
    "tracing": ({"backend"}, {"keras"}, {"jax", "tensorflow", "torch"}),
    "text": ({"files", "messages"}, {"numpy"}, {"tokenizers"}),
    "place": (set(), set(), set()),
    "distribution": (
        {"backend", "keras_internals", "place", "text"},
        {"keras", "numpy"},
        {"jax"},
    ),
    "permutation": (set(), {"numpy"}, set()),
    "batches": (
        {"distribution", "keras_internals", "permutation"},
        {"keras", "numpy"},
        {"tensorflow"},
    ),
    "array_file": (set(), {"numpy"}, set()),
    "lines": ({"array_file", "batches", "text"}, {"numpy"}, set()),
    "line_dataset": (
        {"array_file", "batches", "lines", "permutation"},
        {"numpy"},
        set(),
    ),
    "datasets": ({"batches", "line_dataset", "permutation"}, {"numpy"}, set()),
    "layers": ({"backend", "keras_internals", "tracing"}, {"keras", "numpy"}, set()),
    "decoding": ({"text", "tracing"}, {"keras", "numpy"}, set()),
    "training": (
        {
            "backend",
            "batches",
            "distribution",
            "files",
            "keras_internals",
            "messages",
            "model_file",
            "text",
            "tracing",
        },
        {"keras", "numpy"},
        {"rich", "tensorflow"},
    ),
    "models": (
        {
            "backend",
            "decoding",
            "distribution",
            "files",
            "hdf5",
            "keras_internals",
            "layers",
            "messages",
            "model_file",
            "text",
            "training",
        },
        {"h5py", "keras", "numpy"},
        set(),
    ),
    "advice": (
        {"datasets", "distribution", "layers", "lines", "models", "text"},
        {"keras", "numpy"},
        set(),
    ),
    "analysis": (
        {
            "backend",
            "datasets",
            "decoding",
            "files",
            "html_page",
            "layers",
            "messages",
            "models",
            "text",
        },
        {"keras", "numpy"},
        {"matplotlib", "PIL"},
    ),
    "export": (
        {"decoding", "files", "html_page", "layers", "messages", "models", "text"},
        {"keras", "numpy"},
        set(),
    ),
    "web": (
        {"decoding", "files", "messages", "models", "text"},
        {"fastapi", "numpy", "pydantic", "starlette", "uvicorn"},
        {"keras"},
    ),
    "cli": (ANYTHING, ANYTHING, ANYTHING),
    "__init__": (set(), set(), ANYTHING),
    "__main__": ({"cli"}, set(), ANYTHING),
}
# One of them is loaded at the first use of a name, not by `import textgen`.
HEAVY = {"keras", "tensorflow", "jax", "torch"}


def parse(module):
    path = FOLDER.joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def is_for_type_checkers(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imported(tree):
    """Full names of what a module imports: `(at its top level, in functions)`."""
    top, inner = set(), set()

    def visit(node, names):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, ["textgen" * bool(node.level), node.module]))
            names.update(f"{base}.{alias.name}" for alias in node.names)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            names = inner
        for child in ast.iter_child_nodes(node):
            if not is_for_type_checkers(child):
                visit(child, names)

    visit(tree, top)
    return top, inner


def module_of(names):
    """The module of textgen that the longest possible part of a dotted name is."""
    if names[0] in textgen._MODULES:  # a public name stands for what defines it
        return textgen._MODULES[names[0]]
    for end in range(len(names), 0, -1):
        module = ".".join(names[:end])
        if module in MODULES:
            return module
    return names[0]


def room_of(module):
    return module.split(".")[0]


def own_and_others(names):
    """Of full names, the modules of textgen, and the packages not Python's own."""
    own, others = set(), set()
    for name in names:
        package, *rest = name.split(".")
        if package == "textgen":
            own.add(module_of(rest) if rest else "__init__")
        elif package not in sys.stdlib_module_names:
            others.add(package)
    return own, others


def run(code, folder):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True
    ).stdout.decode()


def test_every_module_has_a_room():
    assert set(map(room_of, MODULES)) == set(ROOMS)


def test_rooms_know_only_those_above_them():
    above = set()
    for room, (known, *_) in ROOMS.items():
        assert known is ANYTHING or known <= above
        above.add(room)


def test_modules_import_one_way():
    graph = {}
    for module in MODULES:
        if module != "__init__":
            top, inner = imported(parse(module))
            graph[module] = own_and_others(top | inner)[0] - {"__init__", module}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_allowed(module):
    rooms, packages, inner_packages = ROOMS[room_of(module)]
    top, inner = map(own_and_others, imported(parse(module)))
    known = [set(map(room_of, own)) - {room_of(module)} for own in (top[0], inner[0])]
    if rooms is not ANYTHING:
        assert known[0] <= rooms
    if packages is not ANYTHING:
        assert top[1] <= packages
    if inner_packages is not ANYTHING:
        assert known[1] <= rooms
        assert inner[1] <= packages | inner_packages


@pytest.mark.parametrize("module", [name for name in MODULES if "__init__" in name])
def test_packages_hold_no_code(module):
    if module != "__init__":
        [only] = parse(module).body
        assert isinstance(only.value, ast.Constant)


@pytest.mark.parametrize(
    ("code", "top", "inner"),
    [
        (
            "import textgen.models.blend as m, keras",
            ({"models.blend"}, {"keras"}),
            (set(), set()),
        ),
        (
            "from textgen import cli, load",
            ({"cli", "models.loading"}, set()),
            (set(), set()),
        ),
        (
            "from . import backend\nfrom .text.splits import x",
            ({"backend", "text.splits"},),
            (),
        ),
        ("class C:\n def f(self):\n  import jax.numpy", (), ({*()}, {"jax"})),
        ("if x:\n try:\n  import torch\n finally: pass", ({*()}, {"torch"}), ()),
        ("if TYPE_CHECKING:\n import torch\nimport os.path", (), ()),
    ],
)
def test_imports_are_found(code, top, inner):
    for names, expected in zip(imported(ast.parse(code)), (top, inner), strict=True):
        found = own_and_others(names)
        assert found == (*expected, *[set()] * (2 - len(expected)))


@pytest.mark.parametrize(
    "code",
    [
        "import textgen",
        "import textgen; dir(textgen); textgen.__all__; hasattr(textgen, 'no')",
        "import textgen; textgen.load_corpus('dinosaurs'); textgen.PRETRAINED",
        "import textgen; textgen.Vocabulary.from_text('text').encode('text')",
        "import textgen.cli.main",
        "import runpy, sys; sys.argv = ['textgen', '--help']\n"
        "try: runpy.run_module('textgen', run_name='__main__')\n"
        "except SystemExit: pass",
    ],
)
def test_keras_is_not_loaded(code, tmp_path):
    output = run(f"{code}\nimport sys; print('\\n', *sys.modules)", tmp_path)
    loaded = set(output.splitlines()[-1].split())
    assert "textgen" in loaded
    assert not loaded & HEAVY


def test_numpy_is_not_loaded_either(tmp_path):
    output = run("import textgen, sys; print(*sys.modules)", tmp_path)
    assert "numpy" not in output.split()


def test_public_names_load_lazily(tmp_path):
    code = (
        "import importlib, textgen\n"
        "for name, module in textgen._MODULES.items():\n"
        "    assert name not in vars(textgen), name\n"
        "    value = getattr(textgen, name)\n"
        "    assert value is vars(textgen)[name]\n"
        "    owner = importlib.import_module('textgen.' + module)\n"
        "    assert value is getattr(owner, name)\n"
        "    assert getattr(value, '__module__', owner.__name__) == owner.__name__\n"
        "    print(name)\n"
    )
    assert run(code, tmp_path).split() == list(textgen._MODULES)


def test_all_names_are_listed_and_found():
    assert set(textgen.__all__) == {*textgen._MODULES, "__version__"}
    assert dir(textgen) == sorted(textgen.__all__)
    assert len(set(textgen.__all__)) == len(textgen.__all__)


@pytest.mark.parametrize("name", ["Vocabularies", "keras", "_private", ""])
def test_unknown_name(name):
    with pytest.raises(AttributeError, match=f"'textgen' has no attribute '{name}'"):
        getattr(textgen, name)


def test_type_checkers_see_the_public_names():
    [block] = filter(is_for_type_checkers, parse("__init__").body)
    seen = {}
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        for alias in statement.names:
            # `as` the same name is what makes it public to a type checker.
            assert alias.asname == alias.name
            seen[alias.name] = statement.module
    assert seen == {
        name: f"textgen.{module}" for name, module in textgen._MODULES.items()
    }


def lines_of(node):
    """The lines of a function, without its docstring and its arguments."""
    first = node.body[0]
    return node.end_lineno - first.lineno + 1 - len(docstring_lines(first))


def docstring_lines(node):
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return range(node.lineno, node.end_lineno + 1) if is_text else ()


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_are_short(module):
    tree = parse(module)
    lines = max((node.end_lineno for node in tree.body), default=0)
    assert lines <= 400 or "More than 400 lines" in ast.get_docstring(tree)
    for node in ast.walk(tree):
        # The argument lists of the command line are long.
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("add_"):
            assert lines_of(node) <= 60, node.name


# Private names of Keras that textgen has used, or could be tempted to.
PRIVATE = {
    *("_keras_history", "_inbound_nodes", "_functional", "_keras_mask", "inner_loop"),
    *("get_dropout_mask", "_flatten_layers", "_loss_tracker", "_compile_metrics"),
}


@pytest.mark.parametrize("module", MODULES)
def test_private_names_of_keras_are_in_one_module(module):
    nodes = list(ast.walk(parse(module)))
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    names |= {node.value for node in nodes if isinstance(node, ast.Constant)}
    sources = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    if module != "keras_internals":
        assert not names & PRIVATE
        assert not any("keras.src" in (source or "") for source in sources)
