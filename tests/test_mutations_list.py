"""The list of deliberate faults fits the library as it is: `run_mutations.py` plants them, which takes minutes."""

import ast
from pathlib import Path

import pytest
from mutations import FAULTS

ROOT = Path(__file__).resolve().parent.parent
CORE = {
    "data.py", "model.py", "train.py", "sample.py", "fast.py", "sweep.py", "experiments.py", "baselines.py",
    "ladder.py", "store.py", "live.py", "lesson.py", "cores.py", "places.py",
    "exercises/base.py", "exercises/progress.py",
}  # fmt: skip


def test_there_are_many_and_in_every_module():
    assert len(FAULTS) >= 40
    assert {f.file for f in FAULTS} == CORE
    assert len({(f.file, f.old, f.new) for f in FAULTS}) == len(FAULTS)


def test_the_readme_says_how_many_there_are():
    assert f"plants {len(FAULTS)} faults" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", range(len(FAULTS)))
def test_a_fault_can_be_planted(number):
    fault = FAULTS[number]
    source = (ROOT / "mlp_lib" / fault.file).read_text(encoding="utf-8")
    assert source.count(fault.old) == 1, f"{fault.file}: {fault.old!r} occurs {source.count(fault.old)} times"
    assert ast.dump(ast.parse(source.replace(fault.old, fault.new))) != ast.dump(ast.parse(source))


def test_the_tests_that_are_to_notice_them_exist():
    wanted = {tuple(test.partition("[")[0].split("::")) for fault in FAULTS for test in fault.tests}
    for path in {path for path, _ in wanted}:
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        there = {(path, node.name) for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert {test for test in wanted if test[0] == path} <= there
