"""What an answer could change in its kernel, and how everything is restored after a check."""

import copy
import random
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Setting:
    """One setting of the kernel: how to read and set it, its value during a check, the sentence for a change."""

    read: Callable[[], object]
    put: Callable[[object], object]
    during: object
    told: str


def _deterministic() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


SETTINGS = [
    Setting(
        torch.is_inference_mode_enabled,
        lambda on: None,  # the context manager around the check ends it
        False,
        "your answer entered torch.inference_mode() but did not leave it: write `with torch.inference_mode():`",
    ),
    Setting(
        torch.is_grad_enabled,
        torch.set_grad_enabled,
        True,
        "your answer turned gradients off for the whole kernel (torch.set_grad_enabled): write `with torch.no_grad():`",
    ),
    Setting(
        torch.get_default_dtype,
        torch.set_default_dtype,
        torch.float32,
        "your answer changed the default type of all new tensors (torch.set_default_dtype): pass `dtype=` for the "
        "tensors that need it",
    ),
    Setting(
        _deterministic,
        lambda modes: torch.use_deterministic_algorithms(modes[0], warn_only=modes[1]),
        (False, False),
        "your answer called torch.use_deterministic_algorithms, which affects the whole kernel: remove it",
    ),
    Setting(
        torch.is_anomaly_enabled,
        torch.set_anomaly_enabled,
        False,
        "your answer turned on anomaly detection for the whole kernel: write `with torch.autograd.detect_anomaly():`",
    ),
    Setting(
        torch.get_num_threads,
        torch.set_num_threads,
        None,  # as on the page
        "your answer called torch.set_num_threads, which affects the whole kernel: leave that to the page",
    ),
]
# Drawing from the global generators is not a mistake in itself, so they are restored silently.
_GENERATORS = [
    ("torch's", torch.get_rng_state, torch.set_rng_state, lambda: torch.default_generator.manual_seed(0)),
    ("NumPy's", np.random.get_state, np.random.set_state, lambda: np.random.seed(0)),  # noqa: NPY002
    ("Python's", random.getstate, random.setstate, lambda: random.seed(0)),
]


class Kernel:
    """The kernel during a check. Call `start` before each answer; `changed` and `drawn` then say what it did."""

    def __init__(self) -> None:
        self._during = [s.read() if s.during is None else s.during for s in SETTINGS]

    def start(self) -> None:
        """Make the usual settings and seed the global generators, so that each call starts from the same state."""
        for setting, value in zip(SETTINGS, self._during, strict=True):
            if setting.read() != value:
                setting.put(value)
        for *_, seed in _GENERATORS:
            seed()
        self._seeded = [read() for _, read, *_ in _GENERATORS]

    def changed(self) -> str:
        """The sentence for a setting that has changed since `start`; empty for none."""
        pairs = zip(SETTINGS, self._during, strict=True)
        return next((setting.told for setting, value in pairs if setting.read() != value), "")

    def drawn(self) -> str:
        """Whose global generator was drawn from or seeded since `start`, such as "NumPy's"; empty for none."""
        for (name, read, *_), seeded in zip(_GENERATORS, self._seeded, strict=True):
            if not _equal(read(), seeded):
                return name
        return ""


def _equal(a: object, b: object) -> bool:
    if isinstance(a, tuple) and any(isinstance(part, np.ndarray) for part in a):  # NumPy's; Python's has 625 numbers
        return all(map(_equal, a, b))
    return bool((a == b).all()) if isinstance(a, Tensor | np.ndarray) else a == b


@contextmanager
def kept_kernel() -> Iterator[Kernel]:
    """A kernel with the usual settings for a check; everything is restored afterwards, whatever an answer did."""
    settings, generators = [s.read() for s in SETTINGS], [read() for _, read, *_ in _GENERATORS]
    try:
        with warnings.catch_warnings(), torch.inference_mode(False):
            warnings.simplefilter("ignore")
            kernel = Kernel()
            kernel.start()
            yield kernel
    finally:
        for setting, value in zip(SETTINGS, settings, strict=True):
            if setting.read() != value:
                setting.put(value)
        for (_, _, put, _), value in zip(_GENERATORS, generators, strict=True):
            put(value)


def fresh(arguments: Sequence[object]) -> list[object]:
    """Copies of the arguments of a case, with generators in the same state; what they share, the copies share."""
    clones = {}
    for value in arguments:
        if isinstance(value, torch.Generator):
            clones[id(value)] = torch.Generator()
            clones[id(value)].set_state(value.get_state())
    return copy.deepcopy(list(arguments), clones)


def flags(value: object) -> dict[str, object]:
    """The flags of a tensor or a model by name: what an answer can restore."""
    if isinstance(value, nn.Module):
        modes = [m.training for m in value.modules()]
        return {"mode (train or eval)": modes, "requires_grad": [p.requires_grad for p in value.parameters()]}
    return {"requires_grad": value.requires_grad} if isinstance(value, Tensor) else {}


def state(value: object, _seen: frozenset[int] = frozenset()) -> object:
    """Everything whose change a caller would notice: numbers, shapes, gradients, flags, modes, entries of lists.

    States can be compared. Generators have none, since an answer may draw from them.
    """
    if id(value) in _seen or isinstance(value, torch.Generator | types.FunctionType | types.ModuleType | type):
        return None
    deeper = _seen | {id(value)}
    if isinstance(value, Tensor):
        flags = (id(value), value.dtype, tuple(value.shape), value.requires_grad, state(value.grad, deeper))
        return (*flags, value.detach().cpu().numpy().tobytes())
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, nn.Module):
        tensors = {**dict(value.named_parameters()), **dict(value.named_buffers())}
        return [m.training for m in value.modules()], state(tensors, deeper)
    if isinstance(value, Mapping):
        return [(key, state(v, deeper)) for key, v in value.items()]
    if isinstance(value, list | tuple):
        return [state(v, deeper) for v in value]
    if isinstance(value, str | int | float | complex | bytes | set | frozenset | None):
        return repr(value)
    return state(vars(value), deeper) if hasattr(value, "__dict__") else id(value)
