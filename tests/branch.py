"""Children that need torch, without the seconds that importing it takes.

One Python imports torch, and nothing of ours; each child branches off from it, imports the library itself and runs its
code as `python -c` would, with arguments, an environment and a folder of its own. Elsewhere than on Linux, where a fork
after torch is no safe thing, each child is a Python of its own, and the tests are the same.
"""

import atexit
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading

TRUNK = """
import gc, json, os, signal, socket, sys, warnings
import torch

asked = socket.socket(fileno=int(sys.argv[1]))
gc.freeze()  # else each child looks through, and so copies, all that torch has made
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every program of a terminal; who started this one ends it


def until_branched_off():
    "Answers what is asked for; comes back in each child, with what it is to do, and at the end, with nothing."
    while True:
        message, files, _, _ = socket.recv_fds(asked, 2**20, 3)
        if not message:
            return None
        wish = json.loads(message)
        if "wait" in wish:
            answer = os.waitstatus_to_exitcode(os.waitpid(wish["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                for number, file in enumerate(files):
                    os.dup2(file, number)
        for file in files:
            os.close(file)
        if "wait" not in wish and answer == 0:
            return wish
        asked.send(str(answer).encode())


wish = until_branched_off()
asked.close()
if wish is not None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(wish["cwd"])
    os.environ.clear()
    os.environ.update(wish["env"])
    sys.path[1:1] = filter(None, wish["env"].get("PYTHONPATH", "").split(os.pathsep))
    sys.argv[1:] = wish["arguments"]
    for action in wish["warnings"]:
        warnings.simplefilter(action)
    exec(compile(wish["code"], "<string>", "exec"), {"__name__": "__main__"})
"""
_one_at_a_time = threading.Lock()


@functools.cache
def _trunk():
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)  # where a message arrives whole
    with its:
        program = subprocess.Popen(
            [sys.executable, "-c", TRUNK, str(its.fileno())], stdin=subprocess.DEVNULL, pass_fds=[its.fileno()]
        )
    atexit.register(lambda: (ours.close(), program.wait()))
    return ours


def _ask(wish, files=()):
    with _one_at_a_time:
        socket.send_fds(_trunk(), [json.dumps(wish).encode()], files)
        return int(_trunk().recv(100))


class Branch:
    """What `subprocess.Popen` would be, as far as the tests need it."""

    def __init__(self, wish):
        its_in, to_it = os.pipe()
        from_it, its_out = os.pipe()
        self.stdin, self.stdout = os.fdopen(to_it, "w"), os.fdopen(from_it)
        self._stderr = tempfile.TemporaryFile("w+")  # noqa: SIM115 (open until it is read, as the two pipes are)
        self.returncode = None
        self.pid = _ask(wish, [its_in, its_out, self._stderr.fileno()])
        os.close(its_in)
        os.close(its_out)

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout):
        """What it still says, out and err, and its end; it is killed if that takes longer than so many seconds."""
        killer = threading.Timer(timeout, self.kill)
        killer.start()
        try:
            self.stdin.close()
            with self.stdout, self._stderr:
                said = self.stdout.read()
                self.returncode = _ask({"wait": self.pid})
                self._stderr.seek(0)
                return said, self._stderr.read()
        finally:
            killer.cancel()


def branch(code, *arguments, env=None, cwd=None, warnings=()):
    """A child that runs the code; `warnings` are the actions of `python -W`. Talk to it as to a Popen."""
    code, env, cwd = textwrap.dedent(code), dict(os.environ if env is None else env), str(cwd or os.getcwd())
    if sys.platform == "linux":
        wish = {"code": code, "arguments": list(map(str, arguments)), "env": env, "cwd": cwd, "warnings": warnings}
        return Branch(wish)
    options = [part for action in warnings for part in ("-W", action)]
    return subprocess.Popen(
        [sys.executable, *options, "-c", code, *map(str, arguments)], env=env, cwd=cwd, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def run(code, *arguments, timeout=300, **how):
    """The same, waited for: what it said and its exit status, as `subprocess.run` gives them."""
    child = branch(code, *arguments, **how)
    out, err = child.communicate(timeout=timeout)
    return subprocess.CompletedProcess(code, child.returncode, out, err)
