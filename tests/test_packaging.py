"""Installation: pyproject.toml, environment.yml and the Makefile agree and do what the README says."""

import ast
import http.server
import importlib.util
import os
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
CONDA_NAMES = {"torch": "pytorch-cpu", "matplotlib": "matplotlib-base", "playwright": "playwright-python"}


def wanted(requirements):
    """Packages with their bounds, including those of the extras among the requirements."""
    for requirement in requirements:
        if extras := re.fullmatch(r"mlp-lib\[(.*)\]", requirement):
            for extra in extras[1].split(","):
                yield from wanted(EXTRAS[extra])
        else:
            yield requirement


def test_environment_yml_has_the_bounds_of_pyproject():
    asked = set()
    for requirement in wanted(PYPROJECT["project"]["dependencies"] + EXTRAS["test"]):
        name, bounds = re.fullmatch(r"([a-z0-9-]+)(.*)", requirement).groups()
        assert ">=" in bounds, f"{requirement} has no lower bound"
        asked.add(CONDA_NAMES.get(name, name) + bounds)
    from_conda = {d for d in ENVIRONMENT["dependencies"] if isinstance(d, str)}
    from_pip = set(ENVIRONMENT["dependencies"][-1]["pip"])
    assert from_conda | from_pip == asked | {"python=3.11", "pip", "-e ."}


def test_readme_example_runs_with_only_the_base_packages(run_with_torch):
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    others = {re.match(r"[\w-]+", r)[0].replace("-", "_") for r in wanted(EXTRAS["test"])} | {"IPython", "traitlets"}
    block = f"import sys\nsys.modules.update(dict.fromkeys({others}))\n"
    done = run_with_torch(block + code)
    assert done.returncode == 0, done.stdout
    assert len(ast.literal_eval(done.stdout)) == 5


# --- make setup, make lab


def cpu_wheels():
    spec = importlib.util.spec_from_file_location("cpu_wheels", ROOT / "tools" / "cpu_wheels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/never":
            threading.Event().wait(2)
        self.send_response(404 if self.path == "/missing" else 200)
        self.end_headers()

    def log_message(self, *args):
        pass


def test_cpu_wheels_prints_the_option_only_if_the_index_answers(monkeypatch, capsys):
    module = cpu_wheels()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    assert module.answers(f"{here}/whl/cpu/torch/")
    assert not module.answers(f"{here}/missing")
    assert not module.answers(f"{here}/never", seconds=0.2)
    server.shutdown()
    server.server_close()
    assert not module.answers(here)

    monkeypatch.setattr(sys, "platform", "linux")
    for driver, reachable, option in ((False, True, "--index-url"), (False, False, ""), (True, True, "")):
        monkeypatch.setattr(module, "cuda_is_useful", lambda driver=driver: driver)
        monkeypatch.setattr(module, "answers", lambda url, reachable=reachable: reachable)
        module.main()
        assert capsys.readouterr().out.split()[:1] == option.split()
    monkeypatch.setattr(sys, "platform", "darwin")
    module.main()
    assert not capsys.readouterr().out


def make(*arguments):
    """Run make without the variables of an outer make."""
    outer = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "TORCH", "WORDS", "PYTHON", "MLP_LIB_WORDS"}
    kept = {name: value for name, value in os.environ.items() if name not in outer}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=kept, capture_output=True, text=True)


def test_TORCH_chooses_the_torch_that_is_installed(tmp_path):
    venv = f"VENV={tmp_path / 'venv'}"
    assert "--no-compile torch==2.4.1+cu118\n" in make("-n", "setup", venv, "TORCH=torch==2.4.1+cu118").stdout
    assert re.search(r"torch==[\d.]+ \$\(.* tools/cpu_wheels.py\)\n", make("-n", "setup", venv).stdout)


@pytest.mark.parametrize(
    ("words", "said"),
    [("lecture", "lecture"), ("/my words.txt", "/my words.txt"), ("my words.txt", f"{ROOT}/my words.txt"), ("", "")],
)
def test_WORDS_sets_MLP_LIB_WORDS(words, said, tmp_path):
    (tmp_path / "more.mk").write_text("say:\n\t@echo $$MLP_LIB_WORDS\n")
    run = make("-s", "-f", "Makefile", "-f", str(tmp_path / "more.mk"), "say", f"WORDS={words}")
    assert run.stdout == f"{said}\n"


def test_readme_speeds_match_the_measured_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    results = (ROOT / "benchmarks" / "results.md").read_text(encoding="utf-8")
    rows = re.findall(r"\| ([\d.]+ \| [\d.]+ ×) \|", readme)
    assert len(rows) == 7
    assert all(f"| {row} |" in results for row in rows)


def test_missing_python_is_reported_as_missing(tmp_path):
    run = make("setup", f"PYTHON={tmp_path / 'python3.99'}", f"VENV={tmp_path / 'venv'}")
    assert run.returncode != 0
    assert "python3.99 cannot be run here: make setup PYTHON=/path/to/python3.11" in run.stdout
    assert not (tmp_path / "venv").exists()


def test_old_python_is_reported(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    run = make("setup", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}")
    assert run.returncode != 0
    assert "Python 3.11 or newer is needed" in run.stdout


def test_files_contain_no_path_of_this_machine():
    """No file of the project contains a path of the machine it was written on."""
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
