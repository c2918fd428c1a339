"""How many cores there are to use. Grids, sweeps and the grading of a class start as many workers."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")  # where Linux tells a container its share of the processor


def usable_cores() -> int:
    """The number of cores that this process may keep busy, at least 1: often fewer than the machine has.

    Counted are the cores that the system lets it run on and, in a container (Binder, a JupyterHub, Docker), the share
    of them that it was given, rounded up: with half a core of sixteen, this is 1.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    return max(1, math.ceil(min(cores, _share())))


def _share() -> float:
    """The cores' worth of time that a container may use; infinity where there is no limit, or none that we can read."""
    try:
        quota, period = (_CGROUP / "cpu.max").read_text(encoding="ascii").split()  # "max 100000": no limit
    except (OSError, ValueError):
        try:  # as older systems write it; -1: no limit
            quota = (_CGROUP / "cpu/cpu.cfs_quota_us").read_text(encoding="ascii")
            period = (_CGROUP / "cpu/cpu.cfs_period_us").read_text(encoding="ascii")
        except (OSError, ValueError):
            return math.inf
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return math.inf
    return share if share > 0 else math.inf
