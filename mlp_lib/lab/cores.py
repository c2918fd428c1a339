"""The number of usable cores: how many workers a grid of runs or the grading of a class starts."""

import math
import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # where Linux tells a container its share of the processor


def usable_cores() -> int:
    """The number of cores that this process may keep busy, at least 1: often fewer than the machine has.

    These are the cores that the system lets it run on or, in a container (Binder, JupyterHub, Docker), the container's
    share of them, rounded up: half a core of sixteen counts as 1.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    try:
        quota, period = map(int, _CPU_MAX.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # not in a container, or "max 100000": no limit
        return cores
    return min(cores, max(1, math.ceil(quota / period)))
