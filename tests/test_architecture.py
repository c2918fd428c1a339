"""Who may import whom, what importing costs, and that everything public is typed and documented."""

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import mlp_lib

PACKAGE = Path(mlp_lib.__file__).parent
STANDARD = sys.stdlib_module_names

# The table: module -> what it may import besides the standard library. A new module has to be entered here.
MAY_IMPORT = {
    "data": {"torch", "numpy"},
    "model": {"torch", "numpy", "data"},
    "train": {"torch", "numpy", "tqdm", "data", "model"},
    "sample": {"torch", "numpy", "data", "model"},
    "cores": set(),
    "places": set(),
    "sweep": {"torch", "numpy", "tqdm", "cores", "data", "model", "train", "sample"},
    "fast": {"torch", "numpy", "numba", "llvmlite", "data", "model", "train"},
    "experiments": {"torch", "numpy", "tqdm", "cores", "data", "model", "train", "fast", "ladder"},
    "baselines": {"torch", "numpy", "data", "model", "train", "sample"},
    "ladder": {"torch", "numpy", "places", "data", "model", "train", "sample"},
    "store": {"torch", "numpy", "data", "model", "train", "sample"},
    "plots": {"numpy", "matplotlib"},
    "live": {"torch", "data", "train"},
    "lesson": set(),
    "check": {"packaging", "cores"},
    "__main__": {"check"},
}
ABOVE = {"lesson", "check", "__main__"}
EXERCISES_MAY_IMPORT = {"torch", "numpy", "exercises", *MAY_IMPORT} - {*ABOVE, "plots", "live"}
GRADING_MAY_IMPORT = {"grade": {"psutil"}, "runner": {"ipykernel", "jupyter_client"}}  # all three come with ipykernel
WIDGETS_MAY_IMPORT = {
    "torch",
    "numpy",
    "matplotlib",
    "ipywidgets",
    "traitlets",
    "widgets",
    "exercises",
    *MAY_IMPORT,
} - ABOVE


def modules():
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "__init__.py"]


def imports(path):
    """Every module that a file imports, at the top or inside a function; ours by their name below mlp_lib."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "mlp_lib" else [node.module]
            )
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield parts[1] if parts[0] == "mlp_lib" and len(parts) > 1 else parts[0]


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_keep_to_the_table(path):
    if path.parent.name == "exercises":
        allowed = EXERCISES_MAY_IMPORT | GRADING_MAY_IMPORT.get(path.stem, set())
    elif path.parent.name == "widgets":
        allowed = WIDGETS_MAY_IMPORT
    else:
        assert path.stem in MAY_IMPORT, f"{path.name} is not in the table: enter what it may import"
        allowed = MAY_IMPORT[path.stem]
    found = {name for name in imports(path) if name not in STANDARD}
    assert found <= allowed, f"{path.name} imports {sorted(found - allowed)}"


def test_importing_the_library_draws_in_no_plotting_and_no_widgets():
    code = (
        "import sys, mlp_lib; mlp_lib.MLP; mlp_lib.train; "
        "print([m for m in ('matplotlib', 'ipywidgets', 'IPython', 'numba') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_importing_changes_no_setting():
    code = (
        "import torch; a = (torch.get_num_threads(), torch.get_rng_state().tolist(), torch.get_default_dtype()); "
        "import mlp_lib, mlp_lib.plots; mlp_lib.MLP; "
        "b = (torch.get_num_threads(), torch.get_rng_state().tolist(), torch.get_default_dtype()); print(a == b)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"


def public():
    for path in modules():
        if path.stem == "__main__":
            continue
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        module = importlib.import_module(name)
        for attribute, value in vars(module).items():
            if attribute.startswith("_") or getattr(value, "__module__", None) != name:
                continue
            if inspect.isfunction(value):
                yield f"{name}.{attribute}", value
            elif inspect.isclass(value):
                yield f"{name}.{attribute}", value
                for member, function in vars(value).items():
                    if inspect.isfunction(function) and (not member.startswith("_") or member == "__init__"):
                        yield f"{name}.{attribute}.{member}", function


PUBLIC = [(name, value) for name, value in public() if name != "mlp_lib.train.Stepper.__init__"]


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_public_names_are_typed_and_documented(name, value):
    if not name.endswith("__init__"):
        assert inspect.getdoc(value), f"{name} has no docstring"
    if inspect.isclass(value) or name.startswith("mlp_lib.exercises.nb"):
        return
    signature = inspect.signature(value)
    for parameter in list(signature.parameters.values()):
        if parameter.name not in ("self", "cls"):
            assert parameter.annotation is not inspect.Parameter.empty, f"{name}: {parameter.name} has no type"
    if name.startswith("mlp_lib.fast.") and "dispatcher" in type(value).__name__.lower():
        return
    assert signature.return_annotation is not inspect.Signature.empty, f"{name} has no return type"


def test_all_names_of_the_package_exist():
    assert all(hasattr(mlp_lib, name) for name in mlp_lib.__all__)


@pytest.mark.parametrize(
    "name", ["build_dataset", "split_words", "make_splits", "load_words", "train_steps", "train", "eval_loss",
             "sample_words", "next_char_probs", "MLP", "MLPConfig", "Vocab"],
)  # fmt: skip
def test_the_core_shows_an_example_that_runs(name):
    assert ">>> " in inspect.getdoc(getattr(mlp_lib, name))


def test_randomness_is_keyword_only_and_has_no_default():
    for name in ("train_steps", "train", "sample_words", "MLP"):
        g = inspect.signature(getattr(mlp_lib, name)).parameters["g"]
        assert g.kind is inspect.Parameter.KEYWORD_ONLY
        assert g.default is inspect.Parameter.empty
