"""The files that other tools read say the same thing: pyproject.toml, environment.yml, the Makefile, CI."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
CONDA_NAMES = {"torch": "pytorch-cpu", "matplotlib": "matplotlib-base", "playwright": "playwright-python"}


def test_environment_has_the_packages_and_bounds_of_pyproject():
    extras = PYPROJECT["project"]["optional-dependencies"]
    wanted = set()
    for requirement in PYPROJECT["project"]["dependencies"] + extras["test"]:
        name, bounds = re.fullmatch(r"([a-z0-9-]+)(.*)", requirement).groups()
        assert ">=" in bounds, f"{requirement} has no lower bound"
        wanted.add(CONDA_NAMES.get(name, name) + bounds)
    conda = {d for d in ENVIRONMENT["dependencies"] if isinstance(d, str)}
    assert conda == wanted | {"python=3.11", "pip"}


def test_environment_is_of_the_form_that_repo2docker_reads():
    assert ENVIRONMENT["channels"] == ["conda-forge", "nodefaults"]
    (pip,) = [d["pip"] for d in ENVIRONMENT["dependencies"] if isinstance(d, dict)]
    assert pip == ["-e ."]
    assert PYPROJECT["project"]["requires-python"] == ">=3.11"


def test_ci_calls_the_readmes_test_command():
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    commands = [step.get("run", "") for step in workflow["jobs"]["test"]["steps"]]
    assert any(command.startswith("make test") for command in commands)


def test_the_exact_torch_stands_in_the_makefile_and_in_ci_alone():
    (pinned,) = re.findall(r"^TORCH \?= (torch==\S+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert pinned in (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "torch==" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_the_readmes_speeds_are_those_that_were_measured():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = (ROOT / "benchmarks" / "results.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| ([\d.]+ \| [\d.]+ ×) \|", readme)
    assert len(rows) == 7
    assert all(f"| {row} |" in results for row in rows)
    assert "27 µs per model and step" in readme
    assert "| 27.3 |" in results
    [faster] = re.findall(r"\((\d+) times as fast as the loop\), sampling 10,000 names \((\d+) times\)", readme)
    assert all(f"| {ratio} × |" in results for ratio in faster)


def test_a_python_that_is_not_there_is_not_called_old(tmp_path):
    call = ["make", "setup", f"PYTHON={tmp_path / 'python3.99'}", f"VENV={tmp_path / 'venv'}"]
    run = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode != 0
    assert "python3.99 cannot be run here: make setup PYTHON=/path/to/python3.11" in run.stdout
    assert not (tmp_path / "venv").exists()


def test_an_old_python_is_told_what_to_do(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    run = subprocess.run(
        ["make", "setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode != 0
    assert "Python 3.11 or newer is needed" in run.stdout + run.stderr


def test_the_project_names_no_workplace():
    """Files that travel with the project speak of the project alone."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split("\n") if listed.returncode == 0 else []
    words = re.compile(r"/work/|/root/|site-packages|\.library|/tmp/")
    allowed = {".ci/run", "tests/test_packaging.py", "tests/test_notebooks.py"}
    for name in names:
        path = ROOT / name
        if (
            path.suffix in {".py", ".md", ".ipynb", ".toml", ".yml", ".cfg", ""}
            and path.is_file()
            and name not in allowed
        ):
            found = words.search(path.read_text(encoding="utf-8", errors="ignore"))
            assert not found, f"{name} holds {found.group()!r}"


def test_python_of_the_tests_is_supported():
    assert sys.version_info >= (3, 11)
