"""`python -m mlp_lib` tells a healthy installation from a broken one, and says what to do, without a traceback."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from mlp_lib import words
from mlp_lib.__main__ import main
from mlp_lib.course import environment
from mlp_lib.course.environment import Item, advice, check_environment

ROOT = Path(__file__).resolve().parent.parent
DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
NAMES = [re.match(r"[\w-]+", line)[0] for line in DEPENDENCIES]


def run(*options, path=None, code=None):
    """`python -m mlp_lib` in a process of its own; `path` is looked at for packages before all others."""
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    what = ["-c", code] if code else ["-m", "mlp_lib"]
    return subprocess.run(
        [sys.executable, *options, *what], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def line_of(name, text):
    (line,) = [line for line in text.splitlines() if re.match(rf"\[(ok|no)\] {re.escape(name)}[: ]", line)]
    return line


def plant_version(folder, name, version):
    """Make it look as if another version of a package were installed."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def plant_empty(folder, *names):
    """What is imported in place of packages that take seconds, and that a test says nothing of."""
    for name in names:
        (folder / f"{name}.py").write_text("")


def package(name):
    bounds = next(line.removeprefix(name) for line in DEPENDENCIES if re.match(r"[\w-]+", line)[0] == name)
    return environment._package(name, bounds)


# --- a healthy machine


def test_here_all_is_well():
    items = check_environment()
    assert [item.line() for item in items if not item.ok] == []
    assert [item.name for item in items] == [
        "Python", *NAMES, "arithmetic", "word list", "mlp_lib", "Jupyter kernel", "notebooks folder", "cores",
    ]  # fmt: skip


def test_the_command_prints_versions_and_ends_well():
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    for name in NAMES:
        assert line_of(name, done.stdout) == f"[ok] {name} {metadata.version(name)}"
    assert done.stdout.endswith("\n\nEverything is here. Open notebooks/00_start_here.ipynb.\n")


def test_the_brief_lines_hold_nothing_of_this_machine():
    brief = "\n".join(item.line(brief=True) for item in check_environment())
    assert not re.search(r"\d", brief)
    assert str(ROOT) not in brief


def test_importing_the_check_brings_in_nothing_heavy():
    code = "import sys; sys.modules['torch'] = None; import mlp_lib.course.environment; print(sorted(sys.modules))"
    modules = set(eval(run(code=code).stdout))
    assert not modules & {"matplotlib", "ipywidgets", "IPython", "numba", "jupyter_client", "packaging"}


# --- packages


def test_a_bare_python_gets_remedies_and_no_traceback():
    done = run("-S")  # without the folder that packages are installed into
    assert done.returncode == 1
    assert done.stderr == ""
    for name, wanted in zip(NAMES, DEPENDENCIES, strict=True):
        line = line_of(name, done.stdout)
        assert line.startswith(f'[no] {name}: not installed; run {sys.executable} -m pip install "{wanted}"')
    assert line_of("word list", done.stdout).startswith("[ok]")
    assert line_of("mlp_lib", done.stdout).endswith(f"-m pip install -e {ROOT}")
    assert line_of("arithmetic", done.stdout).endswith("; see the lines of torch and numpy above")


@pytest.mark.parametrize("name", NAMES)
def test_each_package_is_missed(name, monkeypatch):
    real = metadata.version

    def version(asked):
        if asked == name:
            raise metadata.PackageNotFoundError(asked)
        return real(asked)

    monkeypatch.setattr(metadata, "version", version)
    items = {item.name: item for item in check_environment()}
    assert items[name].line().startswith(f"[no] {name}: not installed; run ")
    assert [item.name for item in items.values() if not item.ok] == [name]


def test_an_old_version(tmp_path):
    plant_version(tmp_path, "numba", "0.59.1")
    plant_empty(tmp_path, "jupyterlab", "ipywidgets", "matplotlib")
    done = run(path=tmp_path)
    assert done.returncode == 1
    assert done.stderr == ""
    line = line_of("numba", done.stdout)
    assert line.startswith("[no] numba: 0.59.1 is installed, the course needs >=0.60; run ")
    assert line.endswith('-m pip install "numba>=0.60"')
    assert done.stdout.count("[no]") == 2  # and the sum at the end
    assert f"\n\n1 of {len(NAMES) + 7} lines say [no]." in done.stdout


@pytest.mark.parametrize(("name", "version"), [("torch", "2.1.2"), ("numpy", "1.25.9"), ("ipykernel", "7.0")])
def test_a_version_outside_the_bounds(name, version, monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert package(name).line().startswith(f"[no] {name}: {version} is installed, the course needs ")


@pytest.mark.parametrize("version", ["0.60", "0.60.0", "0.61.0rc1", "0.100+cpu", "1.0"])
def test_a_version_at_or_above_the_bound_will_do(version, monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert package("numba") == Item("numba", True, version)


@pytest.mark.parametrize("version", ["0.9", "0.59.99", "0.60.dev0"])
def test_versions_are_compared_as_versions_not_as_text(version, monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: version)
    assert not package("numba").ok


def test_an_installation_that_was_cut_off(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: None)
    assert "its installation was cut off half way; run" in package("tqdm").line()
    assert "--force-reinstall" in package("tqdm").remedy


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("OSError('libtorch_cpu.so: cannot open\\nmore')", "OSError: libtorch_cpu.so: cannot open"),
        ("RuntimeError()", "RuntimeError"),
    ],
)
def test_a_torch_that_cannot_be_loaded(fault, said, tmp_path):
    (tmp_path / "torch.py").write_text(f"raise {fault}\n")
    plant_empty(tmp_path, "jupyterlab", "ipywidgets", "matplotlib", "numba")
    done = run(path=tmp_path)
    assert done.returncode == 1
    assert done.stderr == ""
    line = line_of("torch", done.stdout)
    assert line.startswith(
        f"[no] torch: {metadata.version('torch')} is installed but cannot be imported ({said}); run "
    )
    assert "--force-reinstall" in line
    assert line_of("arithmetic", done.stdout).startswith(f"[no] arithmetic: {said}; run ")
    assert line_of("numba", done.stdout).startswith("[ok]")


def test_without_packaging_the_names_are_still_checked(monkeypatch):
    for module in ("packaging", "packaging.specifiers", "packaging.requirements"):
        monkeypatch.setitem(sys.modules, module, None)
    assert [name for name, _ in environment._requirements()] == NAMES
    item = package("numba")
    assert item.ok
    assert item.detail.endswith("not compared with >=0.60: the package packaging is missing")


def test_in_a_wheel_the_installed_package_lists_its_needs(monkeypatch, tmp_path):
    expected = environment._requirements()
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    monkeypatch.setattr(metadata, "requires", lambda name: [*DEPENDENCIES, 'pytest>=8.0; extra == "test"'])
    assert environment._requirements() == expected


def test_a_marker_that_does_not_hold_leaves_a_package_out(monkeypatch):
    lines = ["numpy>=1.26", 'tomli>=2 ; python_version < "3.11"', "pytest>=8.0 ; extra == 'test'"]
    monkeypatch.setattr(environment, "_requirement_lines", lambda: lines)
    assert environment._requirements() == [("numpy", ">=1.26")]


def test_an_old_python_is_the_only_item(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    (item,) = check_environment()
    assert not item.ok
    assert "is older than 3.11; install Python 3.11 or newer" in item.line()


# --- torch at work


def test_wrong_arithmetic_is_noticed(monkeypatch):
    import torch

    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: a * b)
    assert environment._arithmetic().detail == "torch multiplies two small matrices wrongly"


def test_an_old_torch_beside_a_new_numpy_is_noticed(monkeypatch):
    import torch

    def from_numpy(array):
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch, "from_numpy", from_numpy)
    item = environment._arithmetic()
    assert not item.ok
    assert item.detail == "RuntimeError: Numpy is not available"
    assert "--upgrade torch numpy" in item.remedy


# --- the word list


def test_the_recorded_checksum_and_places_are_those_of_the_project():
    assert f"`{environment.WORDS_SHA256}`" in (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert hashlib.sha256((ROOT / "data" / "names.txt").read_bytes()).hexdigest() == environment.WORDS_SHA256
    assert environment._WORD_LISTS == words._BUNDLED


def word_list_of(content, tmp_path, monkeypatch):
    path = tmp_path / "names.txt"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(environment, "_WORD_LISTS", (path,))
    return environment._word_list()


def test_a_missing_word_list(tmp_path, monkeypatch):
    item = word_list_of(None, tmp_path, monkeypatch)
    assert item.line() == (
        f"[no] word list: {tmp_path / 'names.txt'} is missing; restore it with git checkout data/names.txt"
    )


@pytest.mark.parametrize("damage", [lambda c: c[:-1], lambda c: c.replace(b"emma", b"emna"), lambda c: b""])
def test_a_damaged_word_list(damage, tmp_path, monkeypatch):
    item = word_list_of(damage((ROOT / "data" / "names.txt").read_bytes()), tmp_path, monkeypatch)
    assert not item.ok
    assert "is not the course's list (its sha256 differs); restore it with" in item.line()


def test_line_ends_of_windows_do_no_harm(tmp_path, monkeypatch):
    content = (ROOT / "data" / "names.txt").read_bytes().replace(b"\n", b"\r\n")
    item = word_list_of(content, tmp_path, monkeypatch)
    assert item.ok
    assert item.detail.endswith("but for its line ends")
    assert words.load_words(tmp_path / "names.txt") == words.load_words()


# --- installation, kernel, machine


class Distribution:
    def __init__(self, folder, editable):
        self.version, self._folder, self._editable = "0.1.0", folder, editable

    def read_text(self, name):
        if not self._editable:
            return None
        return json.dumps({"url": self._folder.as_uri(), "dir_info": {"editable": True}})

    def locate_file(self, name):
        return self._folder / name


@pytest.mark.parametrize("editable", [True, False])
def test_the_copy_that_is_installed_must_be_this_one(editable, tmp_path, monkeypatch):
    other = tmp_path / "another checkout"
    other.mkdir()
    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution(other, editable))
    item = environment._installation()
    assert not item.ok
    assert item.detail == f"this is the copy in {ROOT}, but notebooks import the one in {other}"
    assert item.remedy.endswith(f"-m pip install -e {ROOT}")
    monkeypatch.setattr(metadata, "distribution", lambda name: Distribution(ROOT, editable))
    item = environment._installation()
    assert item.ok
    assert ("editable" in item.detail) is editable


def test_jupyter_without_a_kernel(monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager

    monkeypatch.setattr(KernelSpecManager, "find_kernel_specs", lambda self: {"ir": "/somewhere"})
    item = environment._kernel()
    assert item.line().startswith("[no] Jupyter kernel: Jupyter finds no kernel named python3; run ")
    assert item.remedy.endswith("-m ipykernel install --sys-prefix")


@pytest.mark.parametrize(
    ("command", "ok"), [("/elsewhere/bin/python", False), ("python", True), (sys.executable, True)]
)
def test_a_kernel_that_runs_another_python(command, ok, monkeypatch):
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    monkeypatch.setattr(KernelSpecManager, "find_kernel_specs", lambda self: {"python3": "/somewhere"})
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: KernelSpec(argv=[command]))
    item = environment._kernel()
    assert item.ok is ok
    if not ok:
        assert f"the kernel python3 runs /elsewhere/bin/python, not {sys.executable}" in item.line()


def test_a_folder_that_cannot_be_written_is_only_a_hint(monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    item = environment._notebooks()
    assert item.ok
    assert "(hint: it is read-only: copy it elsewhere" in item.line()
    assert item.line(brief=True) == "[ok] notebooks folder"


def test_more_threads_than_cores_is_only_a_hint(monkeypatch):
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 10_000)
    item = environment._cores()
    assert item.ok
    assert "(hint: set OMP_NUM_THREADS=" in item.line()


# --- the report as a whole


def test_the_exit_status_follows_the_items(monkeypatch, capsys):
    items = [Item("a", True, "1"), Item("b", False, "gone", "fetch it")]
    monkeypatch.setattr("mlp_lib.__main__.check_environment", lambda: items)
    assert main([]) == 1
    assert capsys.readouterr().out.startswith("[ok] a 1\n[no] b: gone; fetch it\n\n1 of 2 lines say [no].")
    monkeypatch.setattr("mlp_lib.__main__.check_environment", lambda: items[:1])
    assert main([]) == 0


def test_a_hint_does_not_fail(monkeypatch):
    monkeypatch.setattr("mlp_lib.__main__.check_environment", lambda: [Item("a", True, "1", "2 is better")])
    assert main([]) == 0


def test_advice_names_the_environment_that_the_reader_did_not_use(monkeypatch, tmp_path):
    wrong = [Item("torch", False, "not installed")]
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    assert advice(wrong).endswith(f"or let `make setup` in {tmp_path} make an environment that has everything.")
    own = tmp_path / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.touch()
    assert advice(wrong).endswith(f"ask again from there: {own} -m mlp_lib")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))  # used it, and it is the one that is broken
    assert "make setup" in advice(wrong)


def test_a_python_of_the_system_is_not_told_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(environment.sysconfig, "get_path", lambda name: str(tmp_path))
    wrong = [Item("torch", False, "not installed")]
    assert "Do what they say" in advice(wrong)
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    assert "This Python belongs to the system, and pip may install nothing into it: let `make setup`" in advice(wrong)


def test_a_slip_in_pyproject_does_not_stop_the_check(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project.urls]\nRepository = https://github.com/OWNER/REPO\n")
    assert environment._requirement_lines() == (metadata.requires("mlp-lib") or [])


# --- the library without torch


def test_the_library_says_what_it_misses_when_a_name_is_used():
    code = (
        "import sys; sys.modules['tqdm'] = None\n"
        "import mlp_lib\n"
        "from mlp_lib import MLP, Vocab\n"  # these do without
        "print(len(Vocab('ab')))\n"
        "try: from mlp_lib import train\n"
        "except ImportError as error: print(error)\n"
        "try: mlp_lib.no_such_name\n"
        "except AttributeError as error: print(error)\n"
    )
    done = run(code=code)
    assert done.stdout.splitlines() == [
        "3",
        "mlp_lib.train cannot be used here: import of tqdm halted; None in sys.modules. "
        "Run `python -m mlp_lib`: it says what to install",
        "module 'mlp_lib' has no attribute 'no_such_name'",
    ], done.stderr


def test_train_is_the_function_whichever_way_it_is_reached():
    code = (
        "from mlp_lib.train import train_steps\n"
        "import mlp_lib, types\n"
        "from mlp_lib import train, data\n"
        "print(callable(train), mlp_lib.train is train, isinstance(data, types.ModuleType), mlp_lib.data is data)\n"
        "print(set(mlp_lib.__all__) <= set(dir(mlp_lib)))\n"
    )
    assert run(code=code).stdout == "True True True True\nTrue\n"
