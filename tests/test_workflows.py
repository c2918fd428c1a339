"""The workflows on GitHub say what the README, the Makefile and pyproject.toml say; environment.yml suits Binder."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PATHS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PATHS}
WORKFLOWS = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
CI = WORKFLOWS["ci.yml"]["jobs"]
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"]]

each_workflow = pytest.mark.parametrize("name", WORKFLOWS)
each_job = pytest.mark.parametrize(("name", "job"), JOBS, ids=[f"{name}-{job}" for name, job in JOBS])


def on(name):
    return WORKFLOWS[name][True]  # YAML takes the word "on" for a truth value


def commands(job):
    return [step["run"] for step in job.get("steps", []) if "run" in step]


def strings(value):
    """Every text in a part of a workflow, at any depth."""
    if isinstance(value, dict):
        return [text for part in value.values() for text in strings(part)]
    if isinstance(value, list):
        return [text for part in value for text in strings(part)]
    return [value] if isinstance(value, str) else []


# ---- every workflow --------------------------------------------------------------------------------------------------


@each_workflow
def test_a_workflow_may_read_and_nothing_else(name):
    assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
    assert set(WORKFLOWS[name]) == {"name", True, "permissions", "jobs"} | ({"concurrency"} & set(WORKFLOWS[name]))


@each_job
def test_a_job_has_an_end_and_known_steps(name, job):
    job = WORKFLOWS[name]["jobs"][job]
    if "uses" in job:
        assert (ROOT / job["uses"]).is_file()
        return
    assert 30 <= job["timeout-minutes"] <= 180
    for step in job["steps"]:
        assert ("uses" in step) != ("run" in step)
        if "uses" in step:
            action, major = step["uses"].split("@v")
            assert action in ("actions/checkout", "actions/setup-python")
            assert int(major) >= 6, "earlier ones need Node 20, which GitHub's machines no longer have"
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


@each_job
def test_a_target_of_make_exists(name, job):
    targets = set(re.findall(r"^([a-z]+):", MAKEFILE, re.M))
    for command in commands(WORKFLOWS[name]["jobs"][job]):
        for target in re.findall(r"\bmake (?:-\S+ )*(\w+)", command):
            assert target in targets, f"{job} calls make {target}"


@each_workflow
def test_the_exact_torch_is_that_of_the_makefile(name):
    (pinned,) = re.findall(r"^TORCH \?= (torch==\S+)$", MAKEFILE, re.M)
    (oldest,) = re.findall(r"torch>=([\d.]+)", " ".join(PROJECT["dependencies"]))
    assert pinned in TEXTS[name]
    assert set(re.findall(r"torch==[\d.]+", TEXTS[name])) <= {pinned, f"torch=={oldest}"}


@each_workflow
def test_what_comes_from_outside_never_stands_in_a_script(name):
    for job in WORKFLOWS[name]["jobs"].values():
        for command in commands(job):
            assert not re.search(r"\$\{\{\s*(inputs|github)\b", command), command


@each_job
def test_a_workflow_names_nothing_that_is_not_there(name, job):
    parts = WORKFLOWS[name]["jobs"][job]
    matrix = parts.get("strategy", {}).get("matrix", {})
    known = set(matrix) | {key for extra in matrix.get("include", []) for key in extra}
    text = "\n".join(strings(parts))
    assert set(re.findall(r"\bmatrix\.(\w+)", text)) <= known
    inputs = (on(name).get("workflow_call") or {}).get("inputs", {})
    assert set(re.findall(r"\binputs\.(\w+)", text)) <= set(inputs)


# ---- ci.yml ----------------------------------------------------------------------------------------------------------


def test_ci_runs_on_three_systems_with_two_pythons_and_hides_no_failure():
    systems = {system for job in CI.values() for system in job.get("strategy", {}).get("matrix", {}).get("os", [])}
    systems |= {job["runs-on"] for job in CI.values() if "matrix" not in job.get("runs-on", "matrix")}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}
    for name in ("test", "windows"):
        strategy = CI[name]["strategy"]
        assert strategy["fail-fast"] is False
        assert strategy["matrix"]["python"] == ["3.11", "3.13"]
    assert not any("continue-on-error" in job for job in CI.values())


def test_every_system_of_the_matrix_has_a_torch_and_a_browser():
    matrix = CI["test"]["strategy"]["matrix"]
    assert [extra["os"] for extra in matrix["include"]] == matrix["os"]
    assert all(extra["torch"].startswith("torch==") and extra["chromium"] for extra in matrix["include"])
    for name in ("windows", "oldest", "newest"):
        assert CI[name]["env"]["CHROMIUM"]


def test_versions_of_python_are_texts_and_supported():
    least = tuple(map(int, PROJECT["requires-python"].removeprefix(">=").split(".")))
    versions = [v for job in CI.values() for v in job.get("strategy", {}).get("matrix", {}).get("python", [])]
    versions += [step["with"]["python-version"] for job in CI.values() for step in job.get("steps", []) if
                 "python-version" in step.get("with", {})]  # fmt: skip
    versions = [v for v in versions if "matrix" not in str(v)]
    assert all(isinstance(v, str) for v in versions), "without quotes 3.10 is 3.1"
    assert min(tuple(map(int, v.split("."))) for v in versions) == least


def test_the_oldest_packages_are_the_lower_bounds():
    installed = " ".join([*commands(CI["oldest"]), CI["oldest"]["env"]["OLDEST"]])
    named = dict(re.findall(r"(\w+)==([\d.]+)", installed))
    bounds = dict(re.match(r"(\w+)>=([\d.]+)", line).groups() for line in PROJECT["dependencies"])
    assert named == {name: bounds[name] for name in ("torch", "numpy", "numba", "matplotlib")}


def test_windows_runs_the_lines_of_the_readme():
    block = re.search(r"```powershell\n(.*?)```", README, re.S)[1]
    lines = [line.partition("#")[0].strip().replace("py -3.11", "python") for line in block.splitlines()]
    expected = [line for line in lines if "jupyter" not in line]
    assert "\n".join(commands(CI["windows"])).strip().splitlines() == expected


def test_every_monday_the_newest_packages_are_tried():
    assert [re.fullmatch(r"\d+ \d+ \* \* 1", entry["cron"]) is not None for entry in on("ci.yml")["schedule"]] == [True]
    assert "schedule" in CI["newest"]["if"]
    (command,) = commands(CI["newest"])
    assert "torch==" not in command, "it takes what is newest"
    assert any(command.startswith("make torture") for command in commands(CI["torture"]))


# ---- notebooks.yml, for readers --------------------------------------------------------------------------------------


def test_the_workflow_for_readers_is_called_with_what_it_takes():
    called, by_hand = on("notebooks.yml")["workflow_call"]["inputs"], on("notebooks.yml")["workflow_dispatch"]["inputs"]
    assert called == by_hand
    assert all({"description", "type", "default"} == set(entry) for entry in called.values())
    assert set(CI["reuse"]["with"]) <= set(called)
    assert all((ROOT / name).exists() for name in CI["reuse"]["with"]["notebooks"].split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("notebooks", "compare", "folder", "expected"),
    [
        ("notebooks", "true", ".", ["./notebooks"]),
        ("a.ipynb\nmine\n", "true", ".", ["./a.ipynb", "./mine"]),
        ("a.ipynb  mine", "false", "yours", ["--nbval-lax", "yours/a.ipynb", "yours/mine"]),
        ("$(touch${IFS}x);touch x", "true", ".", ["./$(touch${IFS}x);touch", "./x"]),
    ],
)
def test_the_workflow_for_readers_hands_pytest_the_right_names(tmp_path, notebooks, compare, folder, expected):
    (script,) = [
        command for command in commands(WORKFLOWS["notebooks.yml"]["jobs"]["notebooks"]) if "pytest" in command
    ]
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    names = {"NOTEBOOKS": notebooks, "COMPARE": compare, "FOLDER": folder}
    run = subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env=os.environ | names, capture_output=True, text=True, check=True
    )
    always = ["-m", "pytest", "-c", "pyproject.toml", "--rootdir", ".", "--ignore-glob=*.py"]  # no script is imported
    assert run.stdout.splitlines() == [*always, *expected]
    assert os.listdir(tmp_path) == [".venv"]


# ---- environment.yml, as Binder's repo2docker reads it ---------------------------------------------------------------

ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_binder_finds_the_version_of_python():
    """It looks for the first entry of this form, takes two numbers of it, and otherwise a default of its own."""
    found = [re.match(r"python\s*=+\s*([\d.]*)", entry) for entry in ENVIRONMENT["dependencies"] if type(entry) is str]
    assert [match[1] for match in found if match] == ["3.11"]
    assert not any(type(entry) is str and entry.startswith("r-") for entry in ENVIRONMENT["dependencies"]), "R comes in"


def test_binder_copies_the_course_before_it_installs_it():
    """It does so if, and only if, a pip entry of environment.yml names something local; else `-e .` finds nothing."""
    (pip,) = [entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict)]
    assert "-e ." in pip


def test_nothing_keeps_binder_from_reading_environment_yml():
    """With one of these it would build from that; in a folder binder or .binder it would look for nothing else."""
    for name in ("Dockerfile", "default.nix", "Project.toml", "JuliaProject.toml", "binder", ".binder"):
        assert not (ROOT / name).exists(), name
    runtime = ROOT / "runtime.txt"
    assert not runtime.exists(), "it would ask for another Python, or for R"
