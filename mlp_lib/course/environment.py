"""Is everything here that the course needs? Asked by `python -m mlp_lib` and by the first cell of notebook 00.

The answers are for people whose installation is broken, so this file (like `mlp_lib.cores`) needs nothing but the
standard library: torch and the others are what is looked at, each through `importlib.import_module`, and a package that
is missing, too old or damaged becomes a line with a remedy instead of a traceback.
"""

from __future__ import annotations  # an old Python must get as far as the line that says so

import hashlib
import importlib
import json
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from mlp_lib.cores import usable_cores

WORDS_SHA256 = "a311634f5113663f131a60cd0c76afb8420199991dbd9045773b8a2949ada835"  # as in data/README.md

_OLDEST_PYTHON = (3, 11)
_PROJECT = "mlp-lib"
_PACKAGE = Path(__file__).resolve().parent.parent
_ROOT = _PACKAGE.parent  # of a checkout; for an installed wheel, the folder of all packages
_WORD_LISTS = (_PACKAGE / "names.txt", _ROOT / "data" / "names.txt")  # as in mlp_lib.data, which needs torch
_CPU_BUILDS = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class Item:
    """One thing looked at: its `name`, whether it is `ok`, what was found, and what to do about it.

    An item that is ok and has a `remedy` all the same carries a hint: the course runs, one thing would be better.

    >>> print(Item("tqdm", True, "4.67.1").line())
    [ok] tqdm 4.67.1
    >>> print(Item("numba", False, "not installed", "run pip install numba").line())
    [no] numba: not installed; run pip install numba
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""

    def line(self, *, brief: bool = False) -> str:
        """The item in one line. `brief` leaves out what differs between healthy machines: versions, paths, hints.

        >>> Item("tqdm", True, "4.67.1").line(brief=True)
        '[ok] tqdm'
        """
        if not self.ok:
            return f"[no] {self.name}: {self.detail}" + (f"; {self.remedy}" if self.remedy else "")
        if brief:
            return f"[ok] {self.name}"
        return f"[ok] {self.name} {self.detail}" + (f" (hint: {self.remedy})" if self.remedy else "")


def check_environment() -> list[Item]:
    """Everything the course needs, looked at in order: Python, packages, word list, installation, Jupyter, machine.

    Each package that pyproject.toml lists is imported and its version compared with the bounds there. Nothing is
    changed, and no fault of an installation raises. On a Python that is too old that is the only item: what else is
    installed there does not matter. Taught in: notebook 00.

    >>> all(item.ok for item in check_environment())
    True
    """
    python = _python()
    if not python.ok:
        return [python]
    packages = [_package(*parts) for parts in _requirements()]
    return [python, *packages, _arithmetic(), _word_list(), _installation(), _kernel(), _notebooks(), _cores()]


def _python() -> Item:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info[:2] >= _OLDEST_PYTHON:
        return Item("Python", True, found)
    least = ".".join(map(str, _OLDEST_PYTHON))
    return Item(
        "Python",
        False,
        f"{found} is older than {least}",
        f"install Python {least} or newer and make the environment anew",
    )


def _requirements() -> list[tuple[str, str]]:
    """Name and bounds of each package the course needs, such as ("numba", ">=0.60"); test tools are left out."""
    try:
        from packaging.requirements import Requirement
    except ImportError:  # it comes with jupyterlab: nothing much is installed, and the names are what counts
        plain = [line.partition(";") for line in _requirement_lines()]
        parts = [re.match(r"([\w.-]+)\s*(.*)", before) for before, _, marker in plain if "extra" not in marker]
        return [(part[1], part[2].strip()) for part in parts]
    needed = [Requirement(line) for line in _requirement_lines()]
    return [(r.name, str(r.specifier)) for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]


def _requirement_lines() -> list[str]:
    """The dependencies as pyproject.toml lists them; without a checkout, as the installed package remembers them.

    The file comes first: an editable installation remembers the list of the day it was made.
    """
    import tomllib  # not in the standard library of a Python that is too old

    pyproject = _ROOT / "pyproject.toml"
    project = {}
    if pyproject.is_file():
        with suppress(tomllib.TOMLDecodeError):  # a slip of the pen in it: what is installed remembers, too
            project = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == _PROJECT:
            return project["dependencies"]
    try:
        return metadata.requires(_PROJECT) or []
    except metadata.PackageNotFoundError:
        return []


def _package(name: str, bounds: str) -> Item:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Item(name, False, "not installed", f"run {_pip(name, bounds)}")
    again = f"run {_pip(name, bounds, '--force-reinstall')}"
    if not version:
        return Item(name, False, "its installation was cut off half way", again)
    try:
        importlib.import_module(name.replace("-", "_"))
    except Exception as error:  # a damaged package raises what it likes
        return Item(name, False, f"{version} is installed but cannot be imported ({_said(error)})", again)
    try:
        from packaging.specifiers import SpecifierSet

        inside = SpecifierSet(bounds).contains(version, prereleases=True)
    except ImportError:
        return Item(name, True, f"{version}, not compared with {bounds}: the package packaging is missing")
    if not inside:
        return Item(name, False, f"{version} is installed, the course needs {bounds}", f"run {_pip(name, bounds)}")
    return Item(name, True, version)


def _arithmetic() -> Item:
    """Whether torch multiplies, differentiates, and takes arrays from NumPy (an old torch cannot from NumPy 2)."""
    name = "arithmetic"
    try:
        np, torch = importlib.import_module("numpy"), importlib.import_module("torch")
        x = torch.from_numpy(np.array([[1.0, 2.0], [3.0, 4.0]])).requires_grad_()
        product = x @ x
        product.sum().backward()
        right = product.tolist() == [[7.0, 10.0], [15.0, 22.0]] and x.grad.tolist() == [[7.0, 11.0], [9.0, 13.0]]
    except ImportError as error:
        return Item(name, False, _said(error), "see the lines of torch and numpy above")
    except Exception as error:
        return Item(name, False, _said(error), f"run {_pip('torch numpy', '', '--upgrade')}")
    if not right:
        return Item(name, False, "torch multiplies two small matrices wrongly", f"run {_pip('torch', '', '--upgrade')}")
    return Item(name, True, "torch multiplies two small matrices and knows the gradient")


def _word_list() -> Item:
    name = "word list"
    path = next((p for p in _WORD_LISTS if p.is_file()), None)
    restore = "restore it with git checkout data/names.txt"
    if path is None:
        return Item(name, False, f"{_WORD_LISTS[-1]} is missing", restore)
    try:
        content = path.read_bytes()
    except OSError as error:
        return Item(name, False, f"{path} cannot be read ({_said(error)})", "give yourself the right to read it")
    if hashlib.sha256(content).hexdigest() == WORDS_SHA256:
        return Item(name, True, f"{path}, sha256 as recorded")
    if hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest() == WORDS_SHA256:
        # git on Windows may rewrite line ends; load_words reads the same words
        return Item(name, True, f"{path}, sha256 as recorded but for its line ends")
    return Item(name, False, f"{path} is not the course's list (its sha256 differs)", restore)


def _installation() -> Item:
    """Whether a kernel that starts in any folder finds this copy of the library, and no other."""
    install = f"run {_pip('-e', '', folder=_ROOT)}"
    try:
        installed = metadata.distribution(_PROJECT)
    except metadata.PackageNotFoundError:
        return Item("mlp_lib", False, f"found in {_ROOT}, but not installed: a notebook would not find it", install)
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    editable = origin.get("dir_info", {}).get("editable", False)
    folder = Path(url2pathname(urlparse(origin["url"]).path) if editable else str(installed.locate_file("")))
    if not (folder.exists() and folder.samefile(_ROOT)):
        there = f"this is the copy in {_ROOT}, but notebooks import the one in {folder}"
        return Item("mlp_lib", False, there, install)
    return Item("mlp_lib", True, f"{installed.version}{', editable' if editable else ''}, in {folder}")


def _kernel() -> Item:
    name = "Jupyter kernel"
    make = f"run {_quoted(sys.executable)} -m ipykernel install --sys-prefix"
    try:
        kernels = importlib.import_module("jupyter_client.kernelspec").KernelSpecManager()
        if "python3" not in kernels.find_kernel_specs():
            return Item(name, False, "Jupyter finds no kernel named python3", make)
        command = kernels.get_kernel_spec("python3").argv[0]
    except Exception as error:
        return Item(name, False, _said(error), f"run {_pip('jupyterlab ipykernel', '')}")
    # "python" alone means the one that runs Jupyter. Links are not followed: two environments may share one binary.
    if Path(command).is_absolute() and not _same_folder(command, sys.executable):
        return Item(name, False, f"the kernel python3 runs {command}, not {sys.executable}", make)
    return Item(name, True, "python3, this Python")


def _same_folder(a: str, b: str) -> bool:
    return os.path.normcase(os.path.dirname(os.path.abspath(a))) == os.path.normcase(
        os.path.dirname(os.path.abspath(b))
    )


def _notebooks() -> Item:
    name, folder = "notebooks folder", _ROOT / "notebooks"
    if not folder.is_dir():
        return Item(name, True, "not beside the library", "clone the course to have the pages too")
    if not os.access(folder, os.W_OK):
        return Item(name, True, str(folder), "it is read-only: copy it elsewhere, or your answers are not saved")
    return Item(name, True, str(folder))


def _cores() -> Item:
    cores = usable_cores()
    try:
        threads = importlib.import_module("torch").get_num_threads()
    except Exception:  # said above, in torch's own line
        return Item("cores", True, str(cores))
    hint = f"set OMP_NUM_THREADS={cores}: more threads than cores slow each other down" if threads > cores else ""
    return Item("cores", True, f"{cores}, torch uses {threads} thread{'s' if threads > 1 else ''}", hint)


def advice(items: Sequence[Item]) -> str:
    """The last line of the report: where to go from here.

    >>> advice([Item("tqdm", True, "4.67.1")])
    'Everything is here. Open notebooks/00_start_here.ipynb.'
    """
    wrong = sum(not item.ok for item in items)
    if not wrong:
        return "Everything is here. Open notebooks/00_start_here.ipynb."
    count = f"{wrong} of {len(items)} lines say [no]."
    own = next((p for p in (_ROOT / ".venv/bin/python", _ROOT / ".venv/Scripts/python.exe") if p.exists()), None)
    if own is not None and not own.parent.parent.samefile(sys.prefix):
        return f"{count} The course has an environment of its own; ask again from there: {own} -m mlp_lib"
    setup = f"let `make setup` in {_ROOT} make an environment that has everything"
    if sys.prefix == sys.base_prefix and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").is_file():
        return f"{count} This Python belongs to the system, and pip may install nothing into it: {setup}."
    return f"{count} Do what they say, from the top, and ask again; or {setup}."


def _pip(names: str, bounds: str, *options: str, folder: Path | None = None) -> str:
    """The command that installs into this very Python, whatever `pip` alone would mean in the reader's shell."""
    parts = [_quoted(sys.executable), "-m pip install", *options]
    if folder is not None:
        parts += [names, _quoted(str(folder))]
    else:
        parts.append(f'"{names}{bounds}"' if bounds else names)
    if names.split()[0] == "torch" and sys.platform == "linux":
        parts.append(f"--extra-index-url {_CPU_BUILDS}")
    return " ".join(parts)


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
