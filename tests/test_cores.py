"""How many cores a process may use: those that the system allows, or the share of its container."""

import os

import pytest

from mlp_lib.lab import cores
from mlp_lib.lab.cores import usable_cores


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with 16 cores, of which this process may use `allowed`; `share` is the content of Linux's cpu.max."""

    def made(allowed=16, share=None):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(allowed)), raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 16)
        monkeypatch.setattr(cores, "_CPU_MAX", tmp_path / "cpu.max")
        if share is not None:
            (tmp_path / "cpu.max").write_text(share, encoding="ascii")

    return made


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (None, 16),
        ("max 100000\n", 16),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("50000 100000\n", 1),
        ("6400000 100000\n", 16),
    ],
)
def test_usable_cores_respects_the_share_of_a_container(machine, share, expected):
    machine(share=share)
    assert usable_cores() == expected


def test_usable_cores_respects_the_affinity_of_the_process(machine):
    machine(allowed=3, share="800000 100000\n")
    assert usable_cores() == 3


def test_all_cores_count_without_sched_getaffinity(machine, monkeypatch):
    machine()
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 16


def test_grading_and_the_report_use_usable_cores(machine, monkeypatch, tmp_path):
    import nbformat

    from mlp_lib.course import environment
    from mlp_lib.course.exercises import __main__
    from mlp_lib.course.exercises.grade import grade

    cell = f"import os; open({str(tmp_path / 'said')!r}, 'w').write(os.environ['OMP_NUM_THREADS'])"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbformat.write(notebook, tmp_path / "theirs.ipynb")
    machine(share="300000 100000\n")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert __main__._parser().parse_args(["grade", "a folder"]).jobs == 3
    grade(tmp_path / "theirs.ipynb")
    assert (tmp_path / "said").read_text(encoding="ascii") == "3"
    monkeypatch.setattr("torch.get_num_threads", lambda: 16)
    assert "set OMP_NUM_THREADS=3" in environment._cores().line()
