"""Runs the cells of one notebook for `grade`, which starts this file in a Python of its own and ends it.

    python runner.py FOLDER

FOLDER holds `cells.json`, the sources, and `work`, where the kernel is to start; the record of solved exercises comes
to be in it. On stdout stands, line by line, which cell has begun and what had been solved after it. The library is not
imported here: it takes torch along, and the seconds for that would be spent twice a notebook.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from queue import Empty

from ipykernel.kernelspec import make_ipkernel_cmd
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

_SECONDS_TO_START = 120.0  # for a kernel; it takes one or two
_LOOK_AGAIN = 0.3  # seconds between two looks at whether a kernel still lives
_PARENT = os.getppid()


class ThisPython(KernelSpecManager):
    """Makes every kernel one of this Python, which has the course, whatever a notebook asks for."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """The same for any name."""
        return KernelSpec(argv=make_ipkernel_cmd(), language="python", display_name=kernel_name)


def run_cells(folder: Path) -> None:
    """Run the cells one after another in a new kernel; a cell that raises does not keep the next from being run.

    Ends early if the kernel ends, or is asked to. Raises SystemExit if it does not start. There is no limit of time.
    """
    cells = json.loads((folder / "cells.json").read_text(encoding="utf-8"))
    manager = KernelManager(kernel_spec_manager=ThisPython(), connection_file=str(folder / "kernel.json"))
    # What it prints is kept nowhere, and whoever waits for input is told that there is none.
    nothing = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    manager.start_kernel(cwd=str(folder / "work"), **nothing)
    client = manager.blocking_client()
    # Of a kernel's channels only that of requests and replies: output that nobody listens to costs nothing.
    client.start_channels(shell=True, iopub=False, stdin=False, hb=False, control=False)
    if _reply(client, manager, client.kernel_info(), _SECONDS_TO_START) is None:
        raise SystemExit("it did not start")
    for number, source in enumerate(cells, start=1):
        _say(begun=number)
        reply = _reply(client, manager, client.execute(source, allow_stdin=False, stop_on_error=False))
        _say(solved=_solved(folder / "exercises.json"), raised=_name_of_error(reply))
        if reply is None or any(part.get("source") == "ask_exit" for part in reply["content"].get("payload", ())):
            return
    _say(finished=True)


def _reply(
    client: BlockingKernelClient, manager: KernelManager, request: str, seconds: float = float("inf")
) -> dict | None:
    """The kernel's reply to a request; None if the kernel ended, or said nothing for so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            reply = client.get_shell_msg(timeout=_LOOK_AGAIN)
        except Empty:
            if os.getppid() != _PARENT:  # whoever graded was killed, and nobody is left to end us
                manager.shutdown_kernel(now=True)
            if not manager.is_alive():
                return None
            continue
        if reply["parent_header"].get("msg_id") == request:
            return reply
    return None


def _name_of_error(reply: dict | None) -> str:
    content = {} if reply is None else reply["content"]
    return str(content.get("ename", "an error"))[:60] if content.get("status") == "error" else ""


def _solved(record: Path) -> list[str]:
    """The numbers in the record as it is now, for the case that a later cell deletes or damages it."""
    try:
        return sorted(json.loads(record.read_bytes())["solved"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # none yet, or no record
        return []


def _say(**note: object) -> None:
    print(json.dumps(note), flush=True)


if __name__ == "__main__":
    run_cells(Path(sys.argv[1]))
