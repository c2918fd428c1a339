"""Measure how far the numbers of a page's tagged cells move on other machines and with other seeds.

    python tools/measure_tolerances.py notebooks/11_final_model.ipynb                # everything
    python tools/measure_tolerances.py notebooks/11_final_model.ipynb -v avx2 seeds  # some

The page is run again in each variation, and the numbers of each cell tagged `within-...` are compared with the stored
ones. The variations of the machine show what the tag must allow, with a margin, because `make test` runs on such
machines. The variations of the seed show the spread that the prose has to state. The report on each cell ends with a
line for `tests/tolerances.toml`. Cells without a tag that differ on another machine are listed too: tag them, or print
less.

| variation | what is different |
|---|---|
| threads | one thread, then two, for torch, NumPy and Numba |
| avx2 | torch, MKL, oneDNN, NumPy and Numba use only the instructions of a processor from 2013 |
| lecture | the lecture's word list, through MLP_LIB_WORDS |
| seeds | the lecture's seed 2147483647 in the code, and `seed` in the `parameters` cell, are shifted |
"""

import argparse
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import nbformat
import refresh_notebooks

from nbval_tolerance import Pair, Tolerance, pairs, tolerances_of

SEED = "2147483647"


def _newer_than_avx2() -> str:
    """NumPy's names for the instruction sets of this machine beyond AVX2."""
    from numpy._core import _multiarray_umath as core

    newer = [name for name in core.__cpu_dispatch__ if name.startswith(("AVX512", "X86_V4"))]
    return " ".join(name for name in newer if core.__cpu_features__.get(name))


class Variation(NamedTuple):
    """One way to run a page."""

    name: str
    machine: bool  # whether it imitates another machine
    env: dict[str, str]
    shift: int = 0  # added to the seeds


def variations(asked: list[str], shifts: list[int]) -> Iterator[Variation]:
    """The variations of the requested kinds."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    if "threads" in asked:
        yield Variation("1 thread", True, one)
        yield Variation("2 threads", True, dict.fromkeys(one, "2"))
    if "avx2" in asked:
        names = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
        numba = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+bmi2"}
        yield Variation("AVX2", True, one | names | numba | {"NPY_DISABLE_CPU_FEATURES": _newer_than_avx2()})
    if "lecture" in asked:
        yield Variation("lecture", False, one | {"MLP_LIB_WORDS": "lecture"})
    if "seeds" in asked:
        yield from (Variation(f"seeds+{shift}", False, one, shift) for shift in shifts)


def shifted(notebook: nbformat.NotebookNode, shift: int) -> None:
    """Add `shift` to the seeds in the code."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = re.sub(rf"\b{SEED}\b", str(int(SEED) + shift), cell.source)
            if "parameters" in cell.metadata.get("tags", []):
                other = rf"^(seed = )(?!{int(SEED) + shift}\b)([\d_]+)"
                cell.source = re.sub(other, lambda m: f"{m[1]}{int(m[2]) + shift}", cell.source, flags=re.M)


def compared(stored: nbformat.NotebookNode, new: nbformat.NotebookNode) -> tuple[list[Pair], list[str]]:
    """The numbers of a cell, stored and new, and any other differences."""
    before, now = (refresh_notebooks.texts(cell.outputs) for cell in (stored, new))
    found, other = [], [f"raised {o.ename}: {o.evalue[:80]}" for o in new.outputs if o.output_type == "error"]
    if not other and before.keys() != now.keys():
        other.append(f"other outputs: {sorted(now.keys() ^ before.keys())}")
    for key in before.keys() & now.keys():
        try:
            found += pairs(before[key], now[key])
        except ValueError as error:
            other.append(str(error))
    return found, other


def furthest(found: list[Pair], relative: bool) -> tuple[Decimal, Pair | None]:
    """The largest deviation, absolute or in percent of the stored number, and its pair. Ignores nan and inf."""
    largest, which = Decimal(0), None
    for pair in found:
        stored, new = pair.values()
        if not (stored.is_finite() and new.is_finite()) or (relative and not stored):
            continue
        by = abs(new - stored) * (100 / abs(stored) if relative else 1)
        if by > largest:
            largest, which = by, pair
    return largest, which


def report(path: Path, asked: list[str], shifts: list[int]) -> None:
    """Run a page in all variations, then print what moved in each tagged cell."""
    stored = nbformat.read(path, as_version=4)
    cells = {cell.id: cell for cell in stored.cells if cell.cell_type == "code"}
    runs = []  # each variation with the comparison of each cell
    for variation in variations(asked, shifts):
        print(f"{path.stem}: {variation.name} ...", flush=True)
        page = nbformat.read(path, as_version=4)
        shifted(page, variation.shift)
        refresh_notebooks.execute(page, path.parent, env=variation.env, allow_errors=True)
        runs.append((variation, {cell.id: compared(cells[cell.id], cell) for cell in page.cells if cell.id in cells}))
    for id_, cell in cells.items():
        tags = cell.metadata.get("tags", [])
        moved = [(variation, *found[id_]) for variation, found in runs]
        if tolerances := tolerances_of(tags):
            print(f"\n{path.stem}, cell {id_}, {tolerances[0].tag}: {cell.source.splitlines()[0][:80]}")
            report_cell(id_, tolerances[0], moved)
        elif "nbval-ignore-output" not in tags and (
            names := ", ".join(v.name for v, *is_ in moved if differs(v, *is_))
        ):
            print(f"\n{path.stem}, cell {id_} has no tag and differs ({names}): {cell.source.splitlines()[0][:80]}")


def differs(variation: Variation, found: list[Pair], other: list[str]) -> bool:
    """Whether a cell without a tag would fail on another machine."""
    return variation.machine and (bool(other) or any(pair.stored != pair.new for pair in found))


def report_cell(id_: str, tolerance: Tolerance, moved: list[tuple[Variation, list[Pair], list[str]]]) -> None:
    """Print one line for each variation of a tagged cell, then the line for `tests/tolerances.toml`."""
    most = {True: Decimal(0), False: Decimal(0)}
    for variation, found, other in moved:
        free = [pair for pair in found if pair.is_for(tolerance)]
        (absolute, which), (per_cent, _) = furthest(free, relative=False), furthest(free, relative=True)
        most[variation.machine] = max(most[variation.machine], per_cent if tolerance.relative else absolute)
        numbers = f"   {which.new} for {which.stored}" if which else ""
        print(f"  {variation.name:16} {float(absolute):>10.3g}  {float(per_cent):>8.3g} %{numbers}")
        other = other + [f"{p.new} for {p.stored}" for p in found if p not in free and len(set(p.values())) > 1]
        print("".join(f"    ! {text}\n" for text in other), end="")
    values = f'tag = "{tolerance.tag}", machines = {float(most[True]):.2g}, seeds = {float(most[False]):.2g}'
    print(f'  {id_} = {{ {values}, tried = "{", ".join(v.name for v, *_ in moved)}" }}')


def main() -> None:
    """Measure the pages named on the command line."""
    parser = argparse.ArgumentParser(description="Measure how far the numbers of tagged cells move.")
    parser.add_argument("notebooks", nargs="+", type=Path)
    kinds = ["threads", "avx2", "lecture", "seeds"]
    parser.add_argument("-v", "--variations", nargs="+", choices=kinds, default=kinds, help="all if none is named")
    parser.add_argument("--shifts", nargs="+", type=int, default=[1000, 2000, 3000], help="added to the seeds")
    asked = parser.parse_args()
    for path in asked.notebooks:
        report(path.resolve(), asked.variations, asked.shifts)


if __name__ == "__main__":
    main()
