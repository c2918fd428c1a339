"""Which ring may import what, and what an import loads and changes."""

import ast
import inspect
from pathlib import Path

import pytest

import mlp_lib

PACKAGE = Path(mlp_lib.__file__).parent

# What each ring must not import. A name stands for the module and everything below it.
NOT_IN = {
    "lecture": {"mlp_lib.lab", "mlp_lib.course", "numba", "llvmlite", "ipywidgets", "traitlets", "IPython", "optuna"},
    "lab": {"mlp_lib.course", "matplotlib", "ipywidgets", "traitlets", "IPython"},
    "course": {"numba", "llvmlite"},
}


def ring(path):
    folder = path.relative_to(PACKAGE).parts[0]
    return folder if folder in NOT_IN else "lecture"


def imports(path):
    """Every module that a file imports, at the top level or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_imports_follow_the_rings():
    for path in PACKAGE.rglob("*.py"):
        if path.name == "__main__.py" and path.parent == PACKAGE:
            continue  # the command `python -m mlp_lib` belongs to the course
        banned = set(NOT_IN[ring(path)])
        if ring(path) == "lecture" and path.stem != "plots":
            banned.add("matplotlib")
        for name in imports(path):
            assert not any(f"{name}.".startswith(f"{b}.") for b in banned), f"{path.relative_to(PACKAGE)}: {name}"


def test_import_loads_no_plotting_and_no_widgets(run_with_torch):
    code = (
        "import sys, mlp_lib; mlp_lib.MLP; mlp_lib.train; "
        "print([m for m in ('matplotlib', 'ipywidgets', 'IPython', 'numba', 'optuna') if m in sys.modules])"
    )
    assert run_with_torch(code).stdout == "[]\n"


def test_import_changes_no_setting(run_with_torch):
    code = (
        "import torch; a = (torch.get_num_threads(), torch.get_rng_state().tolist(), torch.get_default_dtype()); "
        "import mlp_lib, mlp_lib.plots; mlp_lib.MLP; "
        "b = (torch.get_num_threads(), torch.get_rng_state().tolist(), torch.get_default_dtype()); print(a == b)"
    )
    assert run_with_torch(code).stdout == "True\n"


def test_all_exported_names_exist():
    assert all(hasattr(mlp_lib, name) for name in mlp_lib.__all__)


@pytest.mark.parametrize(
    "name", ["build_dataset", "split_words", "make_splits", "load_words", "train_steps", "train", "eval_loss",
             "sample_words", "next_char_probs", "MLP", "MLPConfig", "Vocab"],
)  # fmt: skip
def test_core_docstring_has_an_example(name):
    assert ">>> " in getattr(mlp_lib, name).__doc__


def test_randomness_is_keyword_only_and_has_no_default():
    for name in ("train_steps", "train", "sample_words", "MLP"):
        g = inspect.signature(getattr(mlp_lib, name)).parameters["g"]
        assert g.kind is inspect.Parameter.KEYWORD_ONLY
        assert g.default is inspect.Parameter.empty
