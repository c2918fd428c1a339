"""What every test run shares: notebooks are compared strictly, except for stderr; nobody's own record is touched."""

import os
import shutil
import signal
import sys
import tempfile

import pytest

# Once mlp_lib is installed, its entry point of the same name loads it, and pytest takes it once.
pytest_plugins = ["nbval_tolerance"]

# What may be written for a reader, and where a test run is to write it instead.
RECORDS = {"MLP_LIB_EXERCISES": "exercises.json", "MLP_LIB_LADDER": "ladder.sqlite"}

# Files are handed to workers whole, in this order: the longest first, so that none is left alone at the end.
LONGEST = (
    "15_",
    "test_panels",
    "08_",
    "test_exercises",
    "13_",
    "11_",
    "10_",
    "16_",
    "14_",
    "test_submitted",
    "test_notebooks_tweaked",
    "05_",
    "test_book",
)


def pytest_configure(config: pytest.Config) -> None:
    """Exercises solved and test sets opened by a re-run are noted in files of this run, not in the reader's."""
    os.environ.pop("MLP_LIB_WORDS", None)  # the pages' stored numbers are those of the bundled list
    config.records_of_the_run = tempfile.mkdtemp(prefix="mlp_lib_tests_")
    config.records_named = [name for name in RECORDS if name not in os.environ]
    for name in config.records_named:
        os.environ[name] = os.path.join(config.records_of_the_run, RECORDS[name])
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell leaves it for jobs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # else tests that interrupt wait for ever


def pytest_sessionstart() -> None:
    """Refuse to compare pages whose assertions do not run."""
    if sys.flags.optimize:
        raise pytest.UsageError("PYTHONOPTIMIZE removes the assertions of tests and pages: unset it")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Take those files away."""
    for name in config.records_named:
        os.environ.pop(name, None)
    shutil.rmtree(config.records_of_the_run, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take long to the front; within a file everything stays in its order."""

    def rank(item: pytest.Item) -> int:
        name = item.path.name
        return next((k for k, start in enumerate(LONGEST) if name.startswith(start)), len(LONGEST))

    items.sort(key=rank)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave stderr out of the comparison: a progress bar and a first compilation differ from run to run."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
