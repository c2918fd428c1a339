"""How many cores a process may use: what the system allows it, and what a container was given of them."""

import os

import pytest

from mlp_lib import cores
from mlp_lib.cores import usable_cores


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of sixteen cores, with the files in which Linux tells a container its share, as given."""

    def made(allowed=16, **files):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(allowed)), raising=False)
        monkeypatch.setattr(os, "cpu_count", lambda: 16)
        monkeypatch.setattr(cores, "_CGROUP", tmp_path)
        (tmp_path / "cpu").mkdir()
        for name, text in files.items():
            folder, file = (tmp_path, "cpu.max") if name == "max" else (tmp_path / "cpu", f"cpu.cfs_{name}_us")
            (folder / file).write_text(text, encoding="ascii")

    return made


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),
        ({"max": "max 100000\n"}, 16),
        ({"max": "200000 100000\n"}, 2),
        ({"max": "150000 100000\n"}, 2),
        ({"max": "50000 100000\n"}, 1),
        ({"max": "6400000 100000\n"}, 16),
        ({"max": "0 100000\n"}, 16),
        ({"max": "100000 0\n"}, 16),
        ({"max": "hello\n"}, 16),
        ({"max": "many 100000\n"}, 16),
        ({"quota": "300000\n", "period": "100000\n"}, 3),
        ({"quota": "-1\n", "period": "100000\n"}, 16),
        ({"quota": "300000\n"}, 16),
    ],
)
def test_a_container_uses_its_share(machine, files, expected):
    machine(**files)
    assert usable_cores() == expected


def test_the_cores_of_the_process_count_not_those_of_the_machine(machine):
    machine(allowed=3, max="800000 100000\n")
    assert usable_cores() == 3


def test_where_the_system_does_not_say_all_cores_count(machine, monkeypatch):
    machine()
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == 16
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_a_share_that_may_not_be_read_is_none(machine, tmp_path):
    machine()
    (tmp_path / "cpu.max").mkdir()
    assert usable_cores() == 16


def test_grading_and_the_report_use_that_number(machine, monkeypatch):
    from mlp_lib.course import environment
    from mlp_lib.course.exercises import __main__, grade

    machine(max="300000 100000\n")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert __main__._parser().parse_args(["grade", "a folder"]).jobs == 3
    assert grade._environment(cores._CGROUP, jobs=1)["OMP_NUM_THREADS"] == "3"
    monkeypatch.setattr("torch.get_num_threads", lambda: 16)
    assert "set OMP_NUM_THREADS=3" in environment._cores().line()
