"""How fast a panel responds: each control of each panel is moved, with the data and sizes of the pages.

Run it with `make bench` on an idle machine; it writes panels.md in this folder. It measures the time from a new value
until picture and readout have changed in the kernel, or until the readout says that work is under way: a panel that
trains or measures first shows a progress bar, and its result comes later. The limit is a tenth of a second, after which
a delay is noticed. The browser's time is not included.
"""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import ipywidgets
import torch

from mlp_lib import MLP, MLPConfig, Vocab, load_words, make_splits, train
from mlp_lib.course import panels
from mlp_lib.course.panels import PlotPanel
from mlp_lib.lab.fast import fast_steps
from mlp_lib.sweep import lr_sweep

HERE = Path(__file__).resolve().parent
NOTICED = 0.1  # seconds
MOVES = 8  # of each control


def each_panel() -> Iterator[tuple[str, PlotPanel]]:
    """Each panel, made as on its page."""
    words = load_words()
    vocab = Vocab.from_words(words)
    Xtr, Ytr, Xdev, Ydev, *_ = make_splits(words, vocab, 3)

    def fresh(n_embd: int = 10, n_hidden: int = 200) -> tuple[MLP, torch.Generator]:
        g = torch.Generator().manual_seed(2147483647)
        return MLP(MLPConfig(len(vocab), 3, n_embd, n_hidden), g=g), g

    trained, g = fresh()
    train(trained, Xtr, Ytr, steps=5000, g=g, stepper=fast_steps)
    small, g = fresh(2, 100)
    before, _ = fresh(2, 100)
    train(small, Xtr, Ytr, steps=3000, g=g, stepper=fast_steps)

    yield "00", panels.board_panel()
    yield "00", panels.network_panel(small, vocab, words)
    yield "03", panels.softmax_panel()
    model, g = fresh(2, 100)
    yield "04", panels.train_panel(model, Xtr[:32], Ytr[:32], g=g, lr=0.1, batch_size=None, first=200)
    yield "05", panels.gradient_noise_panel({"before": before, "after": small}, Xtr, Ytr)
    model, g = fresh(2, 100)
    result = lr_sweep(model, Xtr, Ytr, runs=8, fresh=True, stepper=fast_steps, g=g)
    yield "06", panels.sweep_panel(model, Xtr, Ytr, g=g, result=result)
    yield "07, 08, 10", panels.sizes_panel(trained.config, Xtr, Ytr, Xdev, Ydev)
    yield "09", panels.embedding_panel({0: before.C.detach(), 3000: small.C.detach()}, vocab)
    yield "09, more dimensions", panels.embedding_panel({0: fresh()[0].C.detach(), 5000: trained.C.detach()}, vocab)
    model, g = fresh()
    yield "11", panels.train_panel(model, Xtr, Ytr, g=g, first=2000, batch_size=32, stepper=fast_steps)
    yield "12", panels.sampling_panel(trained, vocab, words=words)
    yield "14", panels.init_panel(Xdev[::5], Ydev[::5], MLPConfig(len(vocab), 3, 10, 200), seed=2147483647)


def another_value(control: ipywidgets.ValueWidget) -> object:
    """A different value that a user could choose."""
    if isinstance(control, ipywidgets.Text):
        return "em" if control.value != "em" else "ava"
    if hasattr(control, "options"):
        values = [o[1] if isinstance(o, tuple) else o for o in control.options]
        return values[-1] if control.value != values[-1] else values[0]
    if isinstance(control, ipywidgets.FloatLogSlider):
        return control.value / 2
    return control.value + control.step if control.value + control.step <= control.max else control.value - control.step


def moved(panel: PlotPanel, control: ipywidgets.ValueWidget, value: object) -> tuple[float, float]:
    """Seconds until the readout first changes, and until picture and readout have been updated."""
    said = []

    def note(change: object) -> None:
        said.append(time.perf_counter())

    panel.status.observe(note, names="value")
    clock = time.perf_counter()
    control.value = value
    end = time.perf_counter()
    panel.status.unobserve(note, names="value")
    assert panel.error is None, f"{panel}: {panel.error}"
    if panel.worker is not None:
        panel.worker.wait()  # so that the next move starts when nothing is running
    return min([*said, end]) - clock, end - clock


def main() -> None:
    """Move every control of every panel, and write the table."""
    lines = [
        "# How fast a panel responds",
        "",
        "Milliseconds from a new value to the first answer (the new readout, or a note that work is under way) and to",
        f"the new picture in the kernel: medians of {MOVES} moves of the slowest control, with the sizes of the pages.",
        f"Made by `make bench` on an idle machine. The limit for an answer is {1e3 * NOTICED:.0f}.",
        "",
        "| notebook | panel | slowest control | answer | picture | answer, share of the limit |",
        "|---|---|---|---:|---:|---:|",
    ]
    for where, panel in each_panel():
        slowest = (0.0, 0.0, "")
        for control in panel.controls.values():
            times = [moved(panel, control, another_value(control)) for _ in range(MOVES)]
            answer, picture = (statistics.median(column) for column in zip(*times, strict=True))
            slowest = max(slowest, (picture, answer, control.description))
        picture, answer, control = slowest
        name = repr(panel).partition(":")[0]
        figures = f"{1e3 * answer:.0f} | {1e3 * picture:.0f} | {answer / NOTICED:.0%}"
        lines.append(f"| {where} | `{name}` | {control} | {figures} |")
        print(lines[-1])
        panel.close()
    (HERE / "panels.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
