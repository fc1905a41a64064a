"""The one-way imports of docs/architecture.md, and what `import textgen` loads."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import textgen

FOLDER = Path(textgen.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py"))
ANYTHING = None

# Module -> what it may import: modules of textgen, other packages, and packages inside
# functions only.
ALLOWED = {
    "corpus": (set(), set(), set()),
    "vocabulary": (set(), {"numpy"}, set()),
    "datasets": ({"vocabulary"}, {"keras", "numpy"}, {"tensorflow"}),
    "recurrence": (set(), {"keras", "numpy"}, {"tensorflow"}),
    "layers": ({"recurrence"}, {"keras"}, {"tensorflow", "jax", "torch"}),
    "metrics": ({"vocabulary"}, {"keras", "numpy"}, set()),
    "training": (
        {"datasets", "layers", "metrics", "vocabulary"},
        {"keras", "numpy"},
        {"tensorflow"},
    ),
    "sampling": (set(), {"keras", "numpy"}, set()),
    "generation": (
        {"sampling"},
        {"keras", "numpy"},
        {"tensorflow", "jax", "torch"},
    ),
    "writing": (
        {"generation", "sampling", "vocabulary"},
        {"keras", "numpy"},
        set(),
    ),
    "blend": ({"sampling", "vocabulary", "writing"}, {"keras", "numpy"}, set()),
    "saving": (set(), set(), set()),
    "adapter": (
        {"layers", "metrics", "saving", "training", "vocabulary", "writing"},
        {"keras"},
        set(),
    ),
    "completion": (set(), set(), set()),
    "catalogue": ({"corpus"}, set(), set()),
    "model": (
        {
            "adapter",
            "catalogue",
            "layers",
            "saving",
            "training",
            "vocabulary",
            "writing",
        },
        {"keras", "numpy"},
        {"tensorflow"},
    ),
    "callbacks": (set(), {"keras"}, set()),
    "legacy": (
        {"layers", "model", "vocabulary"},
        {"h5py", "keras", "numpy"},
        set(),
    ),
    "cli": (ANYTHING, ANYTHING, ANYTHING),
    "__init__": (set(), set(), ANYTHING),
    "__main__": ({"cli"}, set(), ANYTHING),
}
# One of them is loaded at the first use of a name, not by `import textgen`.
HEAVY = {"keras", "tensorflow", "jax", "torch"}


def parse(module):
    return ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))


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


def own_and_others(names):
    """Of full names, the modules of textgen, and the packages not Python's own."""
    own, others = set(), set()
    for name in names:
        package, *rest = name.split(".")
        if package == "textgen":
            # A public name stands for the module that defines it.
            own.add(textgen._MODULES.get(rest[0], rest[0]) if rest else "__init__")
        elif package not in sys.stdlib_module_names:
            others.add(package)
    return own, others


def run(code, folder):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True
    ).stdout.decode()


def test_every_module_has_a_place():
    assert set(MODULES) <= set(ALLOWED)


def test_allowed_imports_go_one_way():
    graph = {module: own for module, (own, *_) in ALLOWED.items() if own}
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", MODULES)
def test_imports_are_allowed(module):
    own, packages, inner_packages = ALLOWED[module]
    top, inner = map(own_and_others, imported(parse(module)))
    if own is not ANYTHING:
        assert top[0] <= own
    if packages is not ANYTHING:
        assert top[1] <= packages
    if inner_packages is not ANYTHING:
        assert inner[0] <= own
        assert inner[1] <= packages | inner_packages


@pytest.mark.parametrize(
    ("code", "top", "inner"),
    [
        ("import textgen.model as m, keras", ({"model"}, {"keras"}), ({*()}, {*()})),
        ("from textgen import cli, load", ({"cli", "model"}, {*()}), ({*()}, {*()})),
        ("from . import cli\nfrom .model import x", ({"cli", "model"},), ()),
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
        "import textgen.cli",
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
