"""`python -m mlp_lib` reports whether an installation is healthy, and what to do if not, without a traceback."""

import json
import os
import pickle
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlp_lib import words
from mlp_lib.__main__ import main
from mlp_lib.course import environment
from mlp_lib.course.environment import Item, advice, check_environment

ROOT = Path(__file__).resolve().parent.parent


def run(*options, **variables):
    """`python -m mlp_lib` in a separate process."""
    return subprocess.run(
        [sys.executable, *options, "-m", "mlp_lib"],
        cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def line_of(name, text):
    (line,) = [line for line in text.splitlines() if re.match(rf"\[(ok|no)\] {re.escape(name)}[: ]", line)]
    return line


@pytest.fixture
def installed(monkeypatch):
    """A function that makes every package look installed with the given version."""
    return lambda version: monkeypatch.setattr(metadata, "version", lambda name: version)


@pytest.fixture
def with_pip(monkeypatch, tmp_path):
    """Makes the environment look as if pip had made it."""
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: "found")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))


# --- a healthy machine


def test_this_environment_is_healthy():
    items = check_environment()
    assert [item.line() for item in items if not item.ok] == []
    assert items[0].name == "Python"
    assert [item.name for item in items[-6:]] == [
        "word list", "mlp_lib", "home folder", "Jupyter kernel", "Numba cache", "cores",
    ]  # fmt: skip
    assert {"torch", "numba", "jupyterlab"} < {item.name for item in items[1:-6]}
    brief = "\n".join(item.line(brief=True) for item in items)
    assert not re.search(r"\d", brief), "a brief line must not depend on the machine"
    assert str(ROOT) not in brief


# --- packages


def test_python_without_packages_gets_remedies_and_no_traceback():
    done = run("-S")  # without the folder of installed packages
    assert done.returncode == 1
    assert done.stderr == ""
    assert line_of("torch", done.stdout).startswith("[no] torch: not installed; run ")
    assert line_of("word list", done.stdout).startswith("[ok]")
    assert line_of("mlp_lib", done.stdout).endswith(f"-e {ROOT}")
    assert " lines say [no]. " in done.stdout


def test_torch_that_cannot_be_imported_is_reported_in_one_line(tmp_path):
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open\\nmore')\n")
    for name in ("jupyterlab", "ipywidgets", "matplotlib", "optuna"):  # the real ones take seconds to import
        (tmp_path / f"{name}.py").write_text("")
    done = run(PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.returncode == 1
    assert done.stderr == ""
    line = line_of("torch", done.stdout)
    assert "is installed but cannot be imported (OSError: libtorch_cpu.so: cannot open); run " in line
    assert "--force-reinstall --no-deps" in line
    assert line_of("numba", done.stdout).startswith("[ok]")


def test_missing_package_is_the_only_item_that_fails(monkeypatch):
    real = metadata.version

    def version(asked):
        if asked == "optuna":
            raise metadata.PackageNotFoundError(asked)
        return real(asked)

    monkeypatch.setattr(metadata, "version", version)
    assert [item.name for item in check_environment() if not item.ok] == ["optuna"]


@pytest.mark.parametrize("version", ["0.60", "0.60.1", "0.61.0rc1", "0.100+cpu", "1.0"])
def test_version_at_or_above_the_bound_is_accepted(version, installed):
    installed(version)
    assert environment._package("numba", ">=0.60") == Item("numba", True, version)


@pytest.mark.parametrize(
    ("name", "bounds", "version"),
    [("numba", ">=0.60", "0.9"), ("numba", ">=0.60", "0.59.99"), ("ipykernel", ">=6.29,<7", "7.0")],
)
def test_version_outside_the_bounds_is_reported(name, bounds, version, installed, with_pip):
    installed(version)
    assert environment._package(name, bounds).line() == (
        f"[no] {name}: {version} is installed, the course needs {bounds}; "
        f'run {sys.executable} -m pip install "{name}{bounds}"'
    )


def test_interrupted_installation_is_reported(installed):
    installed(None)
    assert "its installation was interrupted; run" in environment._package("tqdm", ">=4.66").line()


def test_old_python_is_the_only_item(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 4, "final", 0))
    (item,) = check_environment()
    assert "is older than 3.11; install Python 3.11 or newer" in item.line()


def test_python_without_assertions_is_reported(tmp_path):
    (tmp_path / "torch.py").write_text("")  # an empty module, because the real one takes seconds and is not needed
    done = run(PYTHONOPTIMIZE="2", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert done.stdout.startswith("[no] Python: ")
    assert "runs without assertions; unset the variable PYTHONOPTIMIZE\n" in done.stdout
    assert done.stderr == ""


# --- which ring needs what


def test_requirements_come_from_pyproject_or_the_installed_package(monkeypatch, tmp_path):
    rings = {name: ring for name, _, ring in environment._requirements()}
    assert (rings["torch"], rings["numba"], rings["jupyterlab"]) == ("", "lab", "course")
    assert "pytest" not in rings
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    (tmp_path / "pyproject.toml").write_text("[project.urls]\nRepository = https://example.org\n")  # not valid TOML
    listed = [
        "torch>=2.4.1",
        "numba>=0.60; extra == 'course'",  # an extra that includes another lists its packages, too
        'numba>=0.60; extra == "lab"',
        "numba>=0.60; extra == 'test'",
        "x[y]; extra == 'course'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda name: listed)
    assert environment._requirements() == [("torch", ">=2.4.1", ""), ("numba", ">=0.60", "lab")]


def test_library_alone_does_not_need_the_packages_of_the_pages(monkeypatch, tmp_path):
    needs = [("torch", ">=2.4.1", ""), ("numba", ">=0.60", "lab")]
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    monkeypatch.setattr(environment, "_requirements", lambda: needs)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    for here, asked in ((None, False), ("found", True)):
        monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name, here=here: here)
        names = {item.name for item in check_environment()}
        assert "torch" in names
        assert ({"numba", "Jupyter kernel", "Numba cache"} <= names) is asked
        assert not asked or advice([]).startswith("Everything is here.")
        assert asked or re.search('The library is here. The pages also need: .*"numba>=0.60"$', advice([]))


# --- the command that installs


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyTorch has one build")
def test_torch_is_installed_without_cuda(with_pip):
    assert environment._pip("torch>=2.4.1").endswith(
        '"torch>=2.4.1" --extra-index-url https://download.pytorch.org/whl/cpu'
    )


def test_uv_is_suggested_if_it_made_the_environment_or_pip_is_missing(with_pip, monkeypatch, tmp_path):
    assert environment._pip("tqdm") == f"{sys.executable} -m pip install tqdm"
    by_uv = f"uv pip install --python {sys.executable} tqdm"
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nuv = 0.9.0\n")
    assert environment._pip("tqdm") == by_uv
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\n")
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    assert environment._pip("tqdm") == by_uv


# --- the word list


def test_recorded_checksum_and_paths_match_the_project():
    assert f"`{environment.WORDS_SHA256}`" in (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert environment._WORD_LISTS == words._BUNDLED


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (None, " is missing; restore it with git checkout data/names.txt"),
        (
            lambda c: c[:-1],
            " is not the course's list (its sha256 differs); restore it with git checkout data/names.txt",
        ),
        (lambda c: c.replace(b"\n", b"\r\n"), ", sha256 as recorded"),
    ],
)
def test_missing_or_changed_word_list_is_reported(damage, said, tmp_path, monkeypatch):
    path = tmp_path / "names.txt"
    if damage:
        path.write_bytes(damage((ROOT / "data" / "names.txt").read_bytes()))
    monkeypatch.setattr(environment, "_WORD_LISTS", (path,))
    assert environment._word_list().line().endswith(f"{path}{said}")


# --- installation, home folder, kernel, machine


@pytest.mark.parametrize("editable", [True, False])
def test_installed_copy_must_be_this_one(editable, tmp_path, monkeypatch):
    def install(folder):
        origin = json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}}) if editable else None
        there = SimpleNamespace(version="0.1.0", read_text=lambda name: origin, locate_file=lambda name: folder)
        monkeypatch.setattr(metadata, "distribution", lambda name: there)
        return environment._installation()

    item = install(tmp_path)
    assert item.detail == f"this is the copy in {ROOT}, but notebooks import the one in {tmp_path}"
    assert item.remedy.endswith(f"-e {ROOT}")
    assert install(ROOT).ok


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows the home folder without HOME")
def test_missing_home_folder_is_reported(monkeypatch, tmp_path):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", unknown)
    assert environment._home().line() == (
        "[no] home folder: this user has none; set the variable HOME to a folder that you can write to"
    )
    assert environment._kernel().remedy == "see the line about the home folder"
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    assert "gone does not exist, or you cannot write to it; set the variable HOME" in environment._home().line()


def test_missing_jupyter_kernel_is_reported(monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager

    monkeypatch.setattr(KernelSpecManager, "find_kernel_specs", lambda self: {})
    assert environment._kernel().line().endswith(f"run {sys.executable} -m ipykernel install --sys-prefix")


@pytest.mark.parametrize(
    ("command", "ok"), [(sys.executable, True), ("python", True), ("/elsewhere/bin/python", False)]
)
def test_kernel_must_run_this_python(command, ok, monkeypatch):
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

    monkeypatch.setattr(KernelSpecManager, "find_kernel_specs", lambda self: {"python3": "/somewhere"})
    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: KernelSpec(argv=[command]))
    item = environment._kernel()
    assert item.ok is ok
    assert ok or f"the kernel python3 runs {command}, not {sys.executable}" in item.line()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pickle.dumps("0.61.0") + pickle.dumps({"a": 1}), "[ok] Numba cache {folder}"),
        (b"", "[no] Numba cache: {file} is damaged; delete {file}: the next run compiles it again"),
        (pickle.dumps("0.61.0") + pickle.dumps({"a": 1})[:-3], "[no] Numba cache: {file} is damaged; delete {file}: "),
        (None, "[no] Numba cache: {file} cannot be read (IsADirectoryError: "),  # permissions do not stop root
    ],
)
def test_damaged_numba_cache_is_reported(content, said, tmp_path, monkeypatch):
    compiled = SimpleNamespace(stats=SimpleNamespace(cache_path=str(tmp_path)))
    monkeypatch.setitem(sys.modules, "mlp_lib.lab.fast", SimpleNamespace(_step=compiled, train=print))
    file = tmp_path / "fast._step-9.py311.nbi"
    file.mkdir() if content is None else file.write_bytes(content)
    assert environment._numba_cache().line().startswith(said.format(file=file, folder=tmp_path))


def test_numba_cache_is_found_where_numba_keeps_it(tmp_path, run_with_torch):
    look = "from mlp_lib.course.environment import _numba_cache; print(_numba_cache().detail)"
    assert run_with_torch(look, env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}).stdout.startswith(str(tmp_path))


def test_more_threads_than_cores_give_only_a_hint(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 10_000)
    item = environment._cores()
    assert item.ok
    assert "(hint: set OMP_NUM_THREADS=" in item.line()


# --- the report as a whole


def test_exit_status_follows_the_items(monkeypatch, capsys):
    items = [Item("a", True, "1", "2 is better"), Item("b", False, "gone", "fetch it")]
    monkeypatch.setattr("mlp_lib.__main__.check_environment", lambda: items)
    assert main([]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("[ok] a 1 (hint: 2 is better)\n[no] b: gone; fetch it\n\n1 of 2 lines say [no].")
    monkeypatch.setattr("mlp_lib.__main__.check_environment", lambda: items[:1])
    assert main([]) == 0


def test_advice_names_the_unused_environment_of_the_course(monkeypatch, tmp_path):
    wrong = [Item("torch", False, "not installed")]
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    own = tmp_path / ".venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.touch()
    assert advice(wrong).endswith(f"check that one instead: {own} -m mlp_lib")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))  # it is the one in use, and it is broken
    assert "make setup" in advice(wrong)


def test_advice_does_not_install_into_the_systems_python(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setattr(environment.sysconfig, "get_path", lambda name: str(tmp_path))
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    wrong = [Item("torch", False, "not installed")]
    assert "This Python belongs to the system, and pip must not install into it: run `make setup`" in advice(wrong)


# --- the library without torch


def test_using_a_name_without_its_package_raises_ImportError(run_with_torch):
    code = (
        "import sys; sys.modules['tqdm'] = None\n"
        "import mlp_lib\n"
        "try: from mlp_lib import train\n"
        "except ImportError as error: print(error)\n"
        "try: mlp_lib.no_such_name\n"
        "except AttributeError as error: print(error)\n"
    )
    assert run_with_torch(code).stdout.splitlines() == [
        "mlp_lib.train cannot be used here: import of tqdm halted; None in sys.modules. "
        "Run `python -m mlp_lib`: it says what to install",
        "module 'mlp_lib' has no attribute 'no_such_name'",
    ]


def test_mlp_lib_train_is_the_function_not_the_module(run_with_torch):
    code = (
        "from mlp_lib.train import train_steps\n"
        "import mlp_lib, types\n"
        "from mlp_lib import train, data\n"
        "print(callable(train), mlp_lib.train is train, isinstance(data, types.ModuleType), mlp_lib.data is data)\n"
        "print(set(mlp_lib.__all__) <= set(dir(mlp_lib)))\n"
    )
    assert run_with_torch(code).stdout == "True True True True\nTrue\n"
