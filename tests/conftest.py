"""Shared by test files: a Python process that has already imported torch, which takes seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Runs each piece of code in a fork of itself: a fresh process that has imported torch but not mlp_lib.
FORKS = """
import json, os, select, sys
import torch

sys.modules["rfc3987_syntax"] = None  # if installed, nbformat would import it for two seconds without needing it
for line in sys.stdin:
    code, arguments, folder, variables = json.loads(line)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.close(writer)
        os.close(reader)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        sys.argv[1:] = arguments
        exec(code, {"__name__": "__main__"})
        sys.exit()
    os.close(writer)
    # Read until its output or the child itself ends: a process that it started may live on and keep the pipe open.
    said = b""
    while True:
        if select.select([reader], [], [], 0.05)[0]:
            more = os.read(reader, 1 << 16)
            said += more
            if not more:
                break
        elif os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
    os.close(reader)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([status, said.decode(errors="replace")]), flush=True)
"""


@pytest.fixture(scope="session")
def run_with_torch():
    """`run_with_torch(code, *arguments)` is `python -c code ...` with torch imported; stdout includes stderr.

    Environment variables that Python or torch read at startup have no effect.
    """
    if sys.platform != "linux":  # on other systems it is not safe to fork after torch is loaded

        def run(code, *arguments, cwd=ROOT, env=os.environ):
            call = [sys.executable, "-c", code, *map(str, arguments)]
            return subprocess.run(call, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        yield run
        return

    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", FORKS], cwd=ROOT, **pipe) as forks:

        def run(code, *arguments, cwd=ROOT, env=os.environ):
            request = [code, [str(a) for a in arguments], str(cwd), dict(env)]
            print(json.dumps(request), file=forks.stdin, flush=True)
            return subprocess.CompletedProcess(code, *json.loads(forks.stdout.readline()))

        yield run
