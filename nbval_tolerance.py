"""A pytest plugin: nbval compares the numbers of a tagged cell within a tolerance.

nbval (https://github.com/computationalmodelling/nbval) re-runs notebooks and compares the output of each cell with the
stored one, character by character. The last digits of trained numbers differ between machines. Tag the cell, and its
printed numbers may differ:

    within-0.02    each number by 0.02 from the stored one
    within-10%     each number by 10 % of the stored one
    both           a number has to satisfy one of them

Cells without a tag are compared exactly, as before, and `--nbval-sanitize-with` is applied before the comparison.

Everything between the numbers must be equal. Blanks may differ only if a number has a different width, because then
they pad a column; line breaks may not. Digits inside a word (`W1`, `2.13.0`) belong to the word.

Whole numbers (printed without a decimal point or exponent) must be equal: they are steps, sizes, seeds, row labels. If
a whole number is a measured count, give an absolute tolerance of 1 or more (`within-3`), which applies to whole numbers
too. Every tolerance applies to a number followed by `%`, because 33 % is a measurement. Percentages count as printed:
within-0.5 allows 33.4 % for 33 %.

Two more pitfalls of nbval are reported in one line each. A cell that was stored without having been run, as by
nbstripout, has nothing to compare with, so it fails. And pytest-xdist by default would spread the cells of a notebook
over several kernels, so with nbval `-n` means `--dist loadfile`.

The module is beside the package and not in it, because pytest imports it at every start and mlp_lib would import torch.
"""

import os
import re
import sys
from collections.abc import Generator
from decimal import Decimal
from typing import NamedTuple

import pytest

_TAG = re.compile(r"within-(\d+(?:\.\d+)?(?:e-?\d+)?)(%?)")
_NUMBER = re.compile(
    r"""(?<![\w.])                             # the digits of W1 and 2.13.0 belong to a word
    [-+−]?(?:
        (?i:nan|inf)(?!\w)
      | (?>                                    # all or nothing: 2.1 is not a part of 2.13.0
            (?:\d{1,3}(?:[,_]\d{3})+(?!\d)|\d+)
            (?:\.\d+|\.(?=[,)\]]|e[-+]?\d|\s+[-+.\d[]))?  # NumPy prints 1. for 1.0; otherwise it is a full stop
          | \.\d+
        )
        (?:[eE][-+]?\d+)?
        (?!\.\d)
    )""",
    re.VERBOSE,
)
_WHOLE = re.compile(r"[-+−]?[\d,_]+")
_DIST, _TOLD = pytest.StashKey[str](), pytest.StashKey[bool]()


class Tolerance(NamedTuple):
    """The tolerance of one tag."""

    tag: str
    amount: Decimal
    relative: bool

    def allows(self, stored: Decimal, new: Decimal) -> bool:
        """Whether `new` is close enough. Computed in decimals, so 2.19 is within 0.02 of 2.17; nan is close to nan."""
        if stored.is_nan() or new.is_nan():
            return stored.is_nan() and new.is_nan()
        if stored.is_infinite() or new.is_infinite():
            return stored == new
        return abs(new - stored) <= self.amount * (abs(stored) if self.relative else 1)


def tolerances_of(tags: list[str]) -> list[Tolerance]:
    """The tolerances among the tags of a cell. Raises ValueError for a tag that starts with `within` but is invalid."""
    found = []
    for tag in tags:
        if match := _TAG.fullmatch(tag):
            found.append(Tolerance(tag, Decimal(match[1]) / (100 if match[2] else 1), bool(match[2])))
        elif tag.startswith("within"):
            raise ValueError(
                f"the tag {tag!r} is not understood: write within-0.02 (each number may differ by 0.02) "
                "or within-10% (by 10 % of the stored number)"
            )
    return found


class Pair(NamedTuple):
    """A number as stored and as printed now, whether it counts as whole, and the line that contains it now."""

    stored: str
    new: str
    whole: bool
    line: str

    def values(self) -> list[Decimal]:
        """Both as numbers."""
        return [Decimal(re.sub("[,_]", "", text).replace("−", "-")) for text in (self.stored, self.new)]

    def is_for(self, tolerance: Tolerance) -> bool:
        """Whether the tolerance applies to this number; for whole numbers see the top of the file."""
        return not self.whole or (tolerance.amount >= 1 and not tolerance.relative)

    def is_within(self, tolerances: list[Tolerance]) -> bool:
        """Whether the numbers are equal or one of the tolerances allows the difference."""
        stored, new = self.values()
        return stored == new or any(self.is_for(t) and t.allows(stored, new) for t in tolerances)

    def sentence(self, tolerances: list[Tolerance]) -> str:
        """The message for a pair that is not within the tolerances, in one line."""
        stored, new = self.values()
        by, tags = "", " and ".join(t.tag for t in tolerances)
        if stored.is_finite() and new.is_finite():
            by = f" by {abs(new - stored):f}"
            if stored and any(t.relative for t in tolerances):
                by += f" ({100 * abs(float(new / stored) - 1):.3g} %)"
        allowed = "whole numbers must be equal under" if self.whole and by else "not allowed by"
        return f"{self.new} differs from the stored {self.stored}{by}, {allowed} {tags}, in the line {self.line!r}"


def pairs(stored: str, new: str) -> list[Pair]:
    """The numbers of two texts in pairs. Raises ValueError if the text between the numbers differs."""
    ours, theirs = list(_NUMBER.finditer(new)), list(_NUMBER.finditer(stored))
    padded = any(len(a[0]) != len(b[0]) for a, b in zip(theirs, ours, strict=False))
    said, said_before = (_between(text, found, padded) for text, found in ((new, ours), (stored, theirs)))
    for now, before in zip(said, said_before, strict=False):
        if now != before:
            start = max(0, len(os.path.commonprefix([now, before])) - 20)  # noqa: RUF071 - strings are meant
            now, before = (piece[start : start + 60] for piece in (now, before))
            raise ValueError(f"the text between the numbers differs: {now!r} where {before!r} is stored")
    if len(ours) != len(theirs):
        raise ValueError(f"there are {len(ours)} numbers where {len(theirs)} are stored")
    after = [re.match(r" ?%", stored[b.end() :]) for b in theirs]
    return [
        Pair(
            b[0],
            a[0],
            whole=all(_WHOLE.fullmatch(n[0]) for n in (a, b)) and not percent,
            line=new[new.rfind("\n", 0, a.start()) + 1 :].partition("\n")[0].strip(),
        )
        for a, b, percent in zip(ours, theirs, after, strict=True)
    ]


def _between(text: str, numbers: list[re.Match], padded: bool) -> list[str]:
    """The text before, between and after the numbers; if `padded`, without the blanks that pad columns."""
    edges = [0, *(edge for number in numbers for edge in number.span()), len(text)]
    pieces = [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
    if not padded:
        return pieces
    pieces = [re.sub(r"[ \t]+", " ", piece) for piece in pieces]
    return [
        p.removeprefix(" " if k else "").removesuffix(" " if k < len(numbers) else "") for k, p in enumerate(pieces)
    ]


def differences(stored: str, new: str, tolerances: list[Tolerance]) -> list[str]:
    """A sentence for each number beyond the tolerances, or one if the text differs; empty if all is within them."""
    try:
        return [pair.sentence(tolerances) for pair in pairs(stored, new) if not pair.is_within(tolerances)]
    except ValueError as error:
        return [str(error)]


class _Near(str):
    """Text of a tagged cell. nbval evaluates `stored != new`."""

    tolerances: list[Tolerance]
    __hash__ = str.__hash__

    def __ne__(self, new: object) -> bool:
        return not isinstance(new, str) or bool(differences(str(self), str(new), self.tolerances))

    def __eq__(self, new: object) -> bool:
        return not self != new


def _is_cell(item: pytest.Item) -> bool:
    nbval = sys.modules.get("nbval.plugin")
    return nbval is not None and isinstance(item, nbval.IPyNbCell)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let nbval compare a tagged cell within its tolerances."""
    if not _is_cell(item):
        return
    try:
        tolerances = tolerances_of(item.cell.metadata.get("tags", []))
    except ValueError:
        return  # reported when the cell runs
    if not tolerances:
        return
    sanitize, report = item.sanitize, item.format_output_compare

    def near(text: object) -> object:
        text = sanitize(text)
        if isinstance(text, str):
            text = _Near(text)
            text.tolerances = tolerances
        return text

    def report_numbers(key: str, left: object, right: object) -> None:
        if isinstance(left, _Near):
            left, right = str(left), str(right)
            told = differences(left, right, tolerances)
            item.comparison_traceback += told[:5] + ([f"and {len(told) - 5} more numbers"] if told[5:] else [])
        report(key, left, right)

    item.sanitize, item.format_output_compare = near, report_numbers


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a cell that would pass without the comparison that was asked for."""
    if not _is_cell(item):
        return (yield)
    dist = getattr(item.config, "workerinput", {}).get("nbval_dist")
    if dist in ("worksteal", "loadgroup") and "@" not in item.nodeid:  # "@" marks an xdist group
        item.raise_cell_error(
            f"--dist {dist} spreads the cells of a notebook over several kernels: use --dist loadfile"
        )
    result = yield
    try:
        tolerances_of(item.cell.metadata.get("tags", []))
    except ValueError as error:
        item.raise_cell_error(str(error))
    if item.options["check"] and _never_run(item.cell):
        if item.parent.stash.get(_TOLD, False):
            pytest.xfail("there is no stored output to compare with, as reported at the first such cell")
        item.parent.stash[_TOLD] = True
        cells = [cell for cell in item.parent.nb.cells if cell.cell_type == "code"]
        item.raise_cell_error(
            f"{sum(map(_never_run, cells))} of {len(cells)} code cells of this notebook were stored without having "
            "been run, so there is no output to compare with: run all cells and save; if a filter such as nbstripout "
            "removes outputs, turn it off for this notebook"
        )
    return result


def _never_run(cell: dict) -> bool:
    return cell.execution_count is None and bool(cell.source.strip())  # an empty cell never gets a count


def pytest_configure(config: pytest.Config) -> None:
    """With `-n` pytest-xdist sends tests to any worker, but the cells of a notebook must share a kernel."""
    on = config.getoption("nbval", False) or config.getoption("nbval_lax", False)
    if on and config.getoption("dist", "no") == "load" and config.getoption("tx", None):
        config.option.dist = config.stash[_DIST] = "loadfile"


def pytest_report_header(config: pytest.Config) -> str | None:
    """Report a changed `--dist`."""
    if _DIST in config.stash:
        return "nbval: --dist loadfile instead of load, because the cells of a notebook share a kernel"
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: object) -> None:
    """Tell each worker the value of `--dist`, which pytest-xdist does not."""
    node.workerinput["nbval_dist"] = node.config.option.dist
