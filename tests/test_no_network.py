"""The library needs no network: it works, and tries no connection, when every connection is refused.

CONTRIBUTING.md has a command that runs the whole suite, notebooks included, in a network namespace with only loopback.
"""

import os

import pytest

# An audit hook of Python sees each connection and each DNS lookup before it is made. Loopback stays open, because
# kernels and panels use it; so do Unix sockets.
GUARD = """
import ipaddress, sys

asked = []


def inside(host):
    if isinstance(host, bytes):
        host = host.decode()
    try:
        return host in (None, "", "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guard(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    if not inside(host):
        asked.append((event, host))
        raise OSError(101, f"no network in this test: {event} {host}")


sys.addaudithook(guard)
"""

QUICK_PART = """
import importlib, pkgutil, tempfile, warnings
from pathlib import Path
import torch
import mlp_lib
from mlp_lib import *
from mlp_lib.lab.counts import Interpolated
from mlp_lib.course.environment import *
from mlp_lib.lab.grid import run_grid
from mlp_lib.lab.fast import fast_steps
from mlp_lib.lab.ladder import Ladder, TestVault
from mlp_lib.course.panels import train_panel
from mlp_lib.sweep import lr_sweep

for module in pkgutil.walk_packages(mlp_lib.__path__, "mlp_lib."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

warnings.simplefilter("ignore", UserWarning)  # too short to turn, names that are cut
folder = Path(tempfile.mkdtemp(dir=sys.argv[1]))
words = load_words()[:300]
vocab = Vocab.from_words(words)
splits = make_splits(words, vocab)
g = torch.Generator().manual_seed(2147483647)
model = MLP(MLPConfig(len(vocab), 3, 2, 20), g=g)
history = train(model, splits.Xtr, splits.Ytr, steps=50, g=g, stepper=fast_steps, eval_on={"dev": splits[2:4]})
lr_sweep(model, splits.Xtr, splits.Ytr, steps=20, g=g)
board = Ladder(folder / "ladder.sqlite", words=words)
run_grid([model.config], [1, 2], X=splits.Xtr, Y=splits.Ytr, steps=20, ladder=board)
TestVault(*splits[4:], path=board.path).loss(model, reason="to see")
Interpolated(2).fit(*splits[:2], len(vocab)).loss(*splits[2:4])
sample_words(model, vocab, n=5, g=g)
train_panel(model, splits.Xtr, splits.Ytr, g=g, first=3)
load_model(save_model(model, folder / "model", vocab=vocab))
for question in vars(mlp_lib.course.exercises.nb01).values():
    if isinstance(question, mlp_lib.course.exercises.Exercise):
        question.check(None)
assert not asked, asked

try:
    load_words("lecture")
except ConnectionError as error:
    assert "check the connection, or set MLP_LECTURE_NAMES to a copy" in str(error), error
else:
    raise AssertionError("the lecture's file was loaded without a network")
assert asked, "the guard must have seen the attempt"
print("whole")
"""


@pytest.fixture
def run(run_with_torch, tmp_path):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLP_") and "proxy" not in k.lower()}
    own = {"MLP_LIB_CACHE": str(tmp_path / "cache"), "MLP_LIB_EXERCISES": str(tmp_path / "exercises.json")}
    return lambda code: run_with_torch(GUARD + code, tmp_path, env=kept | own)


def test_library_tries_no_connection(run):
    done = run(QUICK_PART)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == "whole"


def test_guard_allows_only_loopback(run):
    code = """
import socket
with socket.create_server(("127.0.0.1", 0)) as here:
    socket.create_connection(here.getsockname()).close()
for way in (
    lambda: socket.create_connection(("192.0.2.1", 80), timeout=1),
    lambda: socket.getaddrinfo("example.org", 80),
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)),
):
    try:
        way()
    except OSError as error:
        assert "no network in this test" in str(error), error
    else:
        raise AssertionError("the guard let it through")
"""
    done = run(code)
    assert done.returncode == 0, done.stdout
