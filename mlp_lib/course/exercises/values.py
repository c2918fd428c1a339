"""What an answer returned: copied as plain values, compared within a tolerance, shown in a few words."""

import math
from collections.abc import Iterator, KeysView, Mapping, Sequence, ValuesView
from itertools import islice

import numpy as np
import torch
from torch import Tensor

_LONGEST = 70  # characters of a value in a message


def plain(value: object) -> object:
    """A copy that no later call can change: tensors without their history, tuples and iterators as lists."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple | range | KeysView | ValuesView | Iterator):
        return [plain(v) for v in islice(value, 100_000)]
    return value


def numbers(value: object) -> Tensor | None:
    """The value as a tensor if it is a number, or a table of numbers of any type; else None.

    >>> numbers([1, 2.5]), numbers("2"), numbers([[1], [2, 3]])
    (tensor([1.0000, 2.5000], dtype=torch.float64), None, None)
    """
    try:
        if isinstance(value, list) and value and all(isinstance(v, Tensor) for v in value):
            value = torch.stack(value)
        if not isinstance(value, Tensor):
            array = np.asarray(value)
            value = torch.tensor(array.astype(float) if array.dtype == object else array)  # Fractions are objects
    except Exception:  # words, rows of different lengths, whatever an answer returns
        return None
    return None if value.is_complex() else value


def is_data(value: object) -> bool:
    """Whether it consists of numbers and texts only, so that two results of the same call can be compared.

    >>> is_data({"losses": [1, torch.zeros(2)], "name": "a"}), is_data([print]), is_data({torch.zeros(1): 2})
    (True, False, False)
    """
    if isinstance(value, Mapping):
        return all(isinstance(key, str | int) and is_data(v) for key, v in value.items())
    if isinstance(value, str | None) or numbers(value) is not None:
        return True
    return isinstance(value, list) and all(map(is_data, value))


def same(got: object, expected: object, rtol: float, atol: float) -> bool:
    """Whether two values are the same. Whole numbers are exact, nan equals nan, and True is not 1.

    A list, a tuple, an array and a tensor of the same numbers are the same; so are a number and a tensor of one number.
    """
    a, b = numbers(got), numbers(expected)
    if a is not None and b is not None:
        return _alike(a, b) and bool(_close(a, b, rtol, atol).all())
    if isinstance(expected, list):
        got = list(got) if isinstance(got, Tensor | np.ndarray) and got.ndim else got
        same_length = isinstance(got, list) and len(got) == len(expected)
        return same_length and all(same(g, e, rtol, atol) for g, e in zip(got, expected, strict=True))
    if isinstance(expected, dict):
        same_keys = isinstance(got, dict) and got.keys() == expected.keys()
        return same_keys and all(same(got[key], expected[key], rtol, atol) for key in expected)
    return a is None and b is None and bool(got == expected)


def _alike(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors can be compared number by number."""
    one_each = a.numel() == b.numel() == 1
    return (a.shape == b.shape or one_each) and (a.dtype == torch.bool) == (b.dtype == torch.bool)


def _close(a: Tensor, b: Tensor, rtol: float, atol: float) -> Tensor:
    if not b.is_floating_point():
        rtol = atol = 0.0
    a, b = a.double(), b.double()
    return torch.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True) & (a.isinf() == b.isinf())


def difference(got: object, expected: object, rtol: float, atol: float) -> tuple[str, object, object]:
    """Where two values first differ, what is expected there and what is there: a shape, or one entry if they are long.

    >>> difference({"C": 1, "W1": torch.zeros(2)}, {"C": 1, "W1": torch.zeros(3)}, 0, 0)
    ('W1', 'shape (3,)', 'shape (2,)')
    """
    if isinstance(expected, dict) and isinstance(got, dict) and got.keys() == expected.keys():
        key = next(key for key in expected if not same(got[key], expected[key], rtol, atol))
        place, *both = difference(got[key], expected[key], rtol, atol)
        return f"{key}{', ' * bool(place)}{place}", *both
    a, b = numbers(got), numbers(expected)
    if a is not None and b is not None and a.shape == b.shape != () and _alike(a, b) and _need_an_entry(a, b):
        at = tuple((~_close(a, b, rtol, atol)).nonzero()[0].tolist())
        return f"entry {list(at)}", b[at].item(), a[at].item()
    if a is not None and b is not None and a.shape != b.shape:
        return "", _shape(b), _shape(a)
    if isinstance(expected, list) and isinstance(got, list) and b is None:
        if len(got) != len(expected):
            short = max(len(_text(v)) for v in (got, expected)) <= _LONGEST
            return ("", expected, got) if short else ("", _Words(f"{len(expected)} entries"), _Words(len(got)))
        k = next(k for k in range(len(got)) if not same(got[k], expected[k], rtol, atol))
        return f"entry {k}", expected[k], got[k]
    return "", expected, got


def _need_an_entry(a: Tensor, b: Tensor) -> bool:
    """Whether two tables are too long to show, or look the same."""
    text = _text(b.tolist())
    return len(text) > _LONGEST or text == _text(a.tolist())


class _Words(str):
    """A text that describes a value, shown without quotes."""


def _shape(t: Tensor) -> str:
    return _Words(f"shape {tuple(t.shape)}" if t.ndim else "one number")


def show(value: object) -> str:
    """A value in a few words: a short table as a list, a long one by its shape.

    >>> show(torch.tensor([[0.5, 1 / 3]])), show(torch.zeros(32, 27))
    ('[[0.5, 0.3333]]', 'a tensor of shape (32, 27)')
    """
    if isinstance(value, _Words):
        return value
    if isinstance(value, torch.Generator):
        return f"seeded with {value.initial_seed()}"
    shape = tuple(value.shape) if isinstance(value, Tensor | np.ndarray) else None
    if shape is not None and math.prod(shape) < 100:
        value = plain(value).tolist()
    text = f"a tensor of shape {shape}" if isinstance(value, Tensor | np.ndarray) else _text(value)
    if len(text) <= _LONGEST:
        return text
    return text[: _LONGEST - 3] + "..." if shape is None else f"a tensor of shape {shape}"


def _without_noise(values: Sequence[object]) -> list[object]:
    """The values, with those that are negligible beside the largest set to 0: 5e-16 beside 1 is a rounding error."""
    least = 1e-9 * max((abs(v) for v in values if isinstance(v, float) and math.isfinite(v)), default=0.0)
    return [0.0 if isinstance(v, float) and abs(v) < least else v for v in values]


def _text(value: object) -> str:
    if isinstance(value, list | tuple) and len(value) < 100:
        inside = ", ".join(map(_text, _without_noise(value)))
        return f"[{inside}]" if isinstance(value, list) else f"({inside})"
    if isinstance(value, dict) and len(value) < 100:
        return "{" + ", ".join(f"{_text(key)}: {_text(v)}" for key, v in value.items()) + "}"
    if isinstance(value, Tensor | np.ndarray):
        return show(value)
    if isinstance(value, float | np.floating):
        if value == 0 or 1e-3 <= abs(value) < 1e6:
            return f"{value + 0.0:.4f}".rstrip("0").rstrip(".")
        return f"{value:.4g}"
    return " ".join(repr(value).split())
