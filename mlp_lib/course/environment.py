"""Does this environment have everything that the course needs? Used by `python -m mlp_lib` and by page 00.

The report is for people whose installation is broken, so this file itself imports only the standard library and
`usable_cores`. Torch and the other packages are imported one by one with `importlib.import_module`, and a package that
is missing, too old or damaged becomes a line with a remedy instead of a traceback.
"""

from __future__ import annotations  # an old Python must get as far as the message that it is too old

import hashlib
import importlib
import importlib.util
import json
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

from mlp_lib.lab.cores import usable_cores

WORDS_SHA256 = "a311634f5113663f131a60cd0c76afb8420199991dbd9045773b8a2949ada835"  # as in data/README.md

_PROJECT = "mlp-lib"
_PACKAGE = Path(__file__).resolve().parent.parent
_ROOT = _PACKAGE.parent  # of a checkout; for an installed wheel, the folder of all packages
_WORD_LISTS = (_PACKAGE / "names.txt", _ROOT / "data" / "names.txt")  # wheel, checkout
_REQUIREMENT = re.compile(r"([\w-]+)\s*([^;\[]*?)\s*(?:;.*\bextra == ['\"](\w+)['\"])?")


@dataclass(frozen=True)
class Item:
    """One line of the report: the `name` of what was checked, whether it is `ok`, what was found, and what to do.

    If an item is ok, its `remedy` is a hint: the course runs, but one thing could be better.

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
    """Everything the course needs, in order: Python, packages, word list, installation, home folder, Jupyter, machine.

    Imports each package that pyproject.toml lists and compares its version with the bounds there. If the library is
    installed without the pages, what only the pages need is left out. Changes nothing, and raises nothing for a broken
    installation. Taught in: page 00.

    >>> all(item.ok for item in check_environment())
    True
    """
    python = _python()
    if not python.ok:  # then it does not matter what else is installed
        return [python]
    packages = [_package(name, bounds) for name, bounds, ring in _requirements() if _has_pages() or not ring]
    items = [python, *packages, _word_list(), _installation(), _home()]
    return [*items, _kernel(), _numba_cache(), _cores()] if _has_pages() else [*items, _cores()]


def advice(items: Sequence[Item]) -> str:
    """The last line of the report: what to do next.

    >>> advice([Item("tqdm", True, "4.67.1")])
    'Everything is here. Open notebooks/00_start_here.ipynb.'
    """
    wrong = sum(not item.ok for item in items)
    if not wrong:
        library = f"The library is here. The pages also need: {_pip(*_missing())}"
        return "Everything is here. Open notebooks/00_start_here.ipynb." if _has_pages() else library
    count = f"{wrong} of {len(items)} lines say [no]."
    own = next((p for p in (_ROOT / ".venv/bin/python", _ROOT / ".venv/Scripts/python.exe") if p.exists()), None)
    if own is not None and not own.parent.parent.samefile(sys.prefix):
        return f"{count} The course has its own environment; check that one instead: {own} -m mlp_lib"
    setup = f"run `make setup` in {_ROOT} to create an environment that has everything"
    if sys.prefix == sys.base_prefix and Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").is_file():
        return f"{count} This Python belongs to the system, and pip must not install into it: {setup}."
    return f"{count} Do what they say, from the top, and run this again; or {setup}."


def _has_pages() -> bool:
    """Whether the pages are used here: they are beside the library, one is running, or their packages are installed."""
    return (_ROOT / "notebooks").is_dir() or "ipykernel" in sys.modules or not _missing()


def _missing() -> list[str]:
    """The packages that only the pages need and that are not installed."""
    return [name + bounds for name, bounds, ring in _requirements() if ring and not importlib.util.find_spec(name)]


def _python() -> Item:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036 - a checkout can be run without being installed
        return Item("Python", False, f"{found} is older than 3.11", "install Python 3.11 or newer")
    if sys.flags.optimize:  # -OO also removes the docstrings that JupyterLab needs to start
        return Item("Python", False, f"{found} runs without assertions", "unset the variable PYTHONOPTIMIZE")
    return Item("Python", True, found)


def _requirements() -> list[tuple[str, str, str]]:
    """Name, bounds and ring of each package, such as ("numba", ">=0.60", "lab"); the lecture's ring is "".

    Read from pyproject.toml, because an editable installation keeps the list of the day it was made. Without a
    checkout, read from the installed package.
    """
    import tomllib  # here, because Python before 3.11 does not have it

    try:
        project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        extras = project["optional-dependencies"]
        lines = [
            *project["dependencies"],
            *(f'{line}; extra == "{e}"' for e in ("lab", "course") for line in extras[e]),
        ]
    except (OSError, tomllib.TOMLDecodeError, KeyError):  # no checkout, or a mistake in an edited file
        try:
            lines = metadata.requires(_PROJECT) or []
        except metadata.PackageNotFoundError:
            lines = []
    parsed = [m.groups(default="") for line in lines if (m := _REQUIREMENT.fullmatch(line))]
    return list({name: (name, bounds, ring) for name, bounds, ring in parsed if ring in ("", "lab", "course")}.values())


def _package(name: str, bounds: str) -> Item:
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Item(name, False, "not installed", f"run {_pip(name + bounds)}")
    again = f"run {_pip(name + bounds, '--force-reinstall', '--no-deps')}"
    if not version:
        return Item(name, False, "its installation was interrupted", again)
    if not _within(version, bounds):
        return Item(name, False, f"{version} is installed, the course needs {bounds}", f"run {_pip(name + bounds)}")
    try:
        importlib.import_module(name)
    except Exception as error:  # a damaged package can raise anything
        return Item(name, False, f"{version} is installed but cannot be imported ({_said(error)})", again)
    return Item(name, True, version)


def _within(version: str, bounds: str) -> bool:
    """Whether a version such as "2.13.0+cpu" meets bounds such as ">=6.29,<7"."""

    def numbers(text: str) -> list[int]:
        release = re.match(r"[\d.]*\d", text)
        return [int(part) for part in release[0].split(".")] if release else []

    low, high = (re.search(rf"{sign}([\d.]+)", bounds) for sign in (">=", "<"))
    return (not low or numbers(version) >= numbers(low[1])) and (not high or numbers(version) < numbers(high[1]))


def _word_list() -> Item:
    name, restore = "word list", "restore it with git checkout data/names.txt"
    path = next((p for p in _WORD_LISTS if p.is_file()), None)
    if path is None:
        return Item(name, False, f"{_WORD_LISTS[-1]} is missing", restore)
    try:
        content = path.read_bytes().replace(b"\r\n", b"\n")  # git on Windows may change line endings
    except OSError as error:
        return Item(name, False, f"{path} cannot be read ({_said(error)})", "give yourself permission to read it")
    if hashlib.sha256(content).hexdigest() != WORDS_SHA256:
        return Item(name, False, f"{path} is not the course's list (its sha256 differs)", restore)
    return Item(name, True, f"{path}, sha256 as recorded")


def _installation() -> Item:
    """Whether a kernel started in any folder imports this copy of the library."""
    install = f"run {_pip('-e', _quoted(str(_ROOT)))}"
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


def _home() -> Item:
    """The home folder, where Jupyter stores its settings and the course its record of solved exercises."""
    name, remedy = "home folder", "set the variable HOME to a folder that you can write to"
    try:
        home = Path.home()
    except RuntimeError:
        return Item(name, False, "this user has none", remedy)
    if not os.access(home, os.W_OK):
        return Item(name, False, f"{home} does not exist, or you cannot write to it", remedy)
    return Item(name, True, str(home))


def _kernel() -> Item:
    name = "Jupyter kernel"
    make = f"run {_quoted(sys.executable)} -m ipykernel install --sys-prefix"
    try:
        kernels = importlib.import_module("jupyter_client.kernelspec").KernelSpecManager()
        if "python3" not in kernels.find_kernel_specs():
            return Item(name, False, "Jupyter finds no kernel named python3", make)
        command = kernels.get_kernel_spec("python3").argv[0]
    except RuntimeError as error:
        return Item(name, False, _said(error), "see the line about the home folder")
    except Exception as error:
        return Item(name, False, _said(error), f"run {_pip('jupyterlab', 'ipykernel')}")
    # A bare "python" means the one that runs Jupyter. Links are not followed: two environments may share a binary.
    here, there = (os.path.normcase(Path(p).absolute().parent) for p in (sys.executable, command))
    if Path(command).is_absolute() and here != there:
        return Item(name, False, f"the kernel python3 runs {command}, not {sys.executable}", make)
    return Item(name, True, "python3, this Python")


def _numba_cache() -> Item:
    """Whether the compiled code in Numba's cache on disk can be read; a full disk leaves truncated files."""
    name = "Numba cache"
    try:
        compiled = vars(importlib.import_module("mlp_lib.lab.fast")).values()
    except Exception as error:
        return Item(name, False, _said(error), "see the lines above")
    folders = {path for f in compiled if (path := getattr(getattr(f, "stats", None), "cache_path", None))}
    for file in sorted(file for folder in folders for file in Path(folder).glob("*.nb[ic]")):
        remedy = f"delete {_quoted(str(file))}: the next run compiles it again"
        try:
            whole = file.read_bytes().endswith(b".")  # a pickle ends with this byte
        except OSError as error:
            return Item(name, False, f"{file} cannot be read ({_said(error)})", remedy)
        if not whole:
            return Item(name, False, f"{file} is damaged", remedy)
    return Item(name, True, " and ".join(sorted(folders)) or "in memory only")


def _cores() -> Item:
    cores = usable_cores()
    try:
        threads = importlib.import_module("torch").get_num_threads()
    except Exception:  # already reported in torch's own line
        return Item("cores", True, str(cores))
    hint = f"set OMP_NUM_THREADS={cores}: more threads than cores slow each other down" if threads > cores else ""
    return Item("cores", True, f"{cores}, torch uses {threads} thread{'s' if threads > 1 else ''}", hint)


def _pip(*what: str) -> str:
    """A command that installs into this Python, whichever one a bare `pip` would use in the reader's shell."""
    python, torch = _quoted(sys.executable), any(w.startswith("torch") for w in what) and sys.platform == "linux"
    what = [f'"{w}"' if re.search("[<>]", w) else w for w in what]
    config = Path(sys.prefix, "pyvenv.cfg")
    made_by_uv = config.is_file() and re.search(r"^uv\s*=", config.read_text(encoding="utf-8"), re.MULTILINE)
    if made_by_uv or importlib.util.find_spec("pip") is None:
        parts = ["uv pip install --python", python, *what, *(["--torch-backend=cpu"] if torch else [])]
    else:
        cpu_builds = "--extra-index-url https://download.pytorch.org/whl/cpu"
        parts = [python, "-m pip install", *what, *([cpu_builds] if torch else [])]
    return " ".join(parts)


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path


def _said(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
