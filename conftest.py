"""Settings of every test run: stderr is not compared, and the reader's own records are not changed."""

import os
import shutil
import signal
import sys
import tempfile

import pytest

# If mlp_lib is installed, its entry point registers this plugin under the same name, and pytest loads it only once.
pytest_plugins = ["nbval_tolerance"]

# The variables that name a reader's records, and the files that a test run uses instead.
RECORDS = {"MLP_LIB_EXERCISES": "exercises.json", "MLP_LIB_LADDER": "ladder.sqlite"}

# Workers get whole files in this order: the longest first, so that no worker is left with one at the end.
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
    """Record solved exercises and openings of test sets in temporary files, not in the reader's."""
    os.environ.pop("MLP_LIB_WORDS", None)  # the stored numbers of the pages are those of the bundled list
    config.records_of_the_run = tempfile.mkdtemp(prefix="mlp_lib_tests_")
    config.records_named = [name for name in RECORDS if name not in os.environ]
    for name in config.records_named:
        os.environ[name] = os.path.join(config.records_of_the_run, RECORDS[name])
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # shells set this for background jobs
        signal.signal(signal.SIGINT, signal.default_int_handler)  # otherwise tests that interrupt would hang


def pytest_sessionstart() -> None:
    """Refuse to compare pages whose assertions do not run."""
    if sys.flags.optimize:
        raise pytest.UsageError("PYTHONOPTIMIZE removes the assertions of tests and pages: unset it")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Delete the temporary records."""
    for name in config.records_named:
        os.environ.pop(name, None)
    shutil.rmtree(config.records_of_the_run, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; the order within a file stays."""

    def rank(item: pytest.Item) -> int:
        name = item.path.name
        return next((k for k, start in enumerate(LONGEST) if name.startswith(start)), len(LONGEST))

    items.sort(key=rank)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Do not compare stderr: progress bars and the note of a first compilation differ from run to run."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
