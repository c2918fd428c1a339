"""What every test run shares: notebooks are compared strictly, except for stderr."""

import pytest


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Leave stderr out of the comparison: a progress bar and a first compilation differ from run to run."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
