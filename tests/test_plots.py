"""Plots draw the data they are given on the Axes they are given, and change nothing else."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from mlp_lib import plots
from mlp_lib.lab.ladder import Row

ITOS = {0: ".", 1: "a", 2: "b"}


@pytest.fixture
def ax():
    figure, axes = plt.subplots()
    yield axes
    plt.close(figure)


ROWS = [
    Row(2.02, 2.01, 2.04, 1.9, 3, "mine", "mlp", {}, 1000, 30_000, 12.5, "clean", None, "yours"),
    Row(2.1, 2.1, 2.1, None, 0, "theirs", "mlp", {}, None, 12_000, None, "clean", None, "a report"),
    Row(1.98, 1.98, 1.98, None, 0, "counted", "counts", {}, None, 130_000, None, "clean", None, "counted"),
    Row(1.5, 1.5, 1.5, None, 0, "elsewhere", "mlp", {}, None, 12_000, None, "other", None, "a report"),
    Row(float("nan"), None, None, None, 1, "blew up", "mlp", {}, 10, 12_000, 0.1, "clean", None, "yours"),
    Row(3.3, 3.3, 3.3, None, 0, "guessing", "counts", {}, None, 0, None, "clean", None, "ln 27"),
]

DRAW = {
    "plot_loss": lambda ax: plots.plot_loss([0, 1, 2], [3.0, 2.0, 1.0], ax=ax),
    "plot_next_char_probs": lambda ax: plots.plot_next_char_probs([0.5, 0.3, 0.2], ITOS, ax=ax),
    "plot_embedding": lambda ax: plots.plot_embedding(np.arange(6).reshape(3, 2), ITOS, ax=ax),
    "plot_network": lambda ax: plots.plot_network("..e", n_embd=2, n_hidden=100, vocab_size=27, ax=ax),
    "plot_bars": lambda ax: plots.plot_bars({"a": 1.0, "b": 2.0}, unit="ms", title="Two", ax=ax),
    "plot_matrix": lambda ax: plots.plot_matrix([[1, 2], [3, 4]], title="Four", ax=ax),
    "plot_ladder": lambda ax: plots.plot_ladder(ROWS, ax=ax),
    "plot_lr_sweep": lambda ax: plots.plot_lr_sweep([-3, -2, -1], [3.0, 2.0, 4.0], ax=ax),
}


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_plot_draws_on_the_given_axes_and_returns_them(ax, draw):
    before = dict(matplotlib.rcParams)
    assert draw(ax) is ax
    assert ax.get_title()
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)
def test_plot_without_axes_creates_one_figure(draw):
    before = set(plt.get_fignums())
    drawn = draw(None)
    (new,) = set(plt.get_fignums()) - before
    assert drawn.figure.number == new
    drawn.figure.canvas.draw()
    plt.close(new)


def test_every_plot_function_is_covered():
    import inspect

    names = {n for n, f in vars(plots).items() if n.startswith("plot_") and inspect.isfunction(f)}
    assert names == set(DRAW)


def test_plot_ladder_marks_the_rows_of_the_split(ax):
    plots.plot_ladder(ROWS, ax=ax)
    marks = {c.get_label(): c.get_offsets().tolist() for c in ax.collections if not c.get_label().startswith("_")}
    assert marks == {
        "mlp, yours": [[30_000, 2.02]],
        "mlp, known": [[12_000, 2.1]],
        "counts, known": [[130_000, 1.98]],
    }
    [bars] = [c for c in ax.collections if hasattr(c, "get_segments")]
    assert bars.get_segments()[0].tolist() == [[30_000, pytest.approx(2.01)], [30_000, pytest.approx(2.04)]]
    assert ax.get_xscale() == "log"
    assert ax.get_ylabel() == "dev loss (nats)"


def test_ladder_against_time_and_without_rows(ax):
    plots.plot_ladder(ROWS, against="time", ax=ax)
    marks = [c.get_offsets().tolist() for c in ax.collections if not hasattr(c, "get_segments")]
    assert marks == [[[12.5, 2.02]]]
    assert ax.get_xlabel() == "seconds of training"
    plots.plot_ladder([])
    plt.close("all")


def test_plot_loss_draws_losses_means_evals_and_floor(ax):
    plots.plot_loss(range(6), [6.0, 4.0, 5.0, 3.0, 1.0, 9.0], window=2, floor=0.25, ax=ax,
                    evals={"dev": ([0, 6], [4.0, 2.0])})  # fmt: skip
    raw, means, dev, floor = ax.get_lines()
    assert raw.get_ydata().tolist() == [6.0, 4.0, 5.0, 3.0, 1.0, 9.0]
    assert means.get_ydata().tolist() == [5.0, 4.0, 5.0]
    assert dev.get_ydata().tolist() == [4.0, 2.0]
    assert set(floor.get_ydata()) == {0.25}
    assert ax.get_ylabel() == "loss (nats)"


def test_twenty_eval_curves_all_look_different(ax):
    plots.plot_loss([0], [3.0], evals={f"split {k}": ([0], [3.0 + k]) for k in range(20)}, ax=ax)
    curves = ax.get_lines()[1:]
    assert [line.get_label() for line in curves] == [f"split {k}" for k in range(20)]
    looks = [(line.get_color(), repr(line.get_linestyle()), repr(line._unscaled_dash_pattern)) for line in curves]
    assert len(set(looks)) == 20


def test_tensors_that_require_gradients_can_be_drawn(ax):
    C = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], requires_grad=True)
    plots.plot_embedding(C, ITOS, ax=ax)
    assert {t.get_text(): t.get_position() for t in ax.texts} == {".": (0.0, 1.0), "a": (2.0, 3.0), "b": (4.0, 5.0)}
    assert C.requires_grad
    ax.clear()
    plots.plot_next_char_probs(torch.tensor([0.5, 0.25, 0.25], requires_grad=True), ITOS, ax=ax)
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0.25, 0.25]


def test_plot_loss_drops_an_incomplete_last_window(ax):
    plots.plot_loss(range(7), range(7), window=3, ax=ax)
    assert ax.get_lines()[1].get_ydata().tolist() == [1.0, 4.0]


def test_bar_heights_are_the_probabilities(ax):
    plots.plot_next_char_probs([0.5, 0.3, 0.2], ITOS, mark="b", ax=ax)
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0.3, 0.2]
    assert [label.get_text() for label in ax.get_xticklabels()] == [".", "a", "b"]
    assert [bar.get_hatch() for bar in ax.patches] == [None, None, "//"]


def test_embedding_letters_are_at_their_rows_of_C(ax):
    C = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    plots.plot_embedding(C, ITOS, ax=ax)
    placed = {text.get_text(): text.get_position() for text in ax.texts}
    assert placed == {".": (0.0, 1.0), "a": (2.0, 3.0), "b": (4.0, 5.0)}


def test_embedding_kinds_differ_in_colour_and_shape(ax):
    C = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    plots.plot_embedding(C, ITOS, vowels={"b", "."}, ax=ax)
    drawn = {points.get_label(): points for points in ax.collections}
    assert {kind: points.get_offsets().tolist() for kind, points in drawn.items()} == {
        "vowel": [[4.0, 5.0]], "other letter": [[2.0, 3.0]], "boundary": [[0.0, 1.0]],
    }  # fmt: skip
    assert len({tuple(points.get_facecolor()[0]) for points in drawn.values()}) == 3
    assert len({points.get_paths()[0].vertices.tobytes() for points in drawn.values()}) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(drawn)
    assert ax.get_aspect() == 1, "both axes must have the same scale"


def test_embedding_dims_choose_two_columns(ax):
    C = np.arange(12.0).reshape(3, 4)
    plots.plot_embedding(C, ITOS, dims=(3, 1), legend=False, size=40, ax=ax)
    assert {text.get_text(): text.get_position() for text in ax.texts} == {
        ".": (3.0, 1.0), "a": (7.0, 5.0), "b": (11.0, 9.0),
    }  # fmt: skip
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("dimension 3", "dimension 1")
    assert ax.get_legend() is None


@pytest.mark.parametrize(
    ("against", "x", "at"), [("exponent", [-3.0, -2.0, -1.0], -2.0), ("rate", [0.001, 0.01, 0.1], 0.01)]
)
def test_sweep_against_exponent_or_rate(ax, against, x, at):
    plots.plot_lr_sweep([-3, -2, -1], [3.0, 2.0, 4.0], raw=[3.5, 1.5, 4.5], band=([2.0, 1.0, 3.0], [4.0, 3.0, 5.0]),
                        against=against, suggestion=0.01, ax=ax)  # fmt: skip
    raw, mean, lowest = ax.get_lines()
    assert raw.get_ydata().tolist() == [3.5, 1.5, 4.5]
    assert mean.get_ydata().tolist() == [3.0, 2.0, 4.0]
    assert mean.get_xdata().tolist() == pytest.approx(x)
    assert lowest.get_xdata() == pytest.approx([at, at])
    (area,) = ax.collections
    corners = {(round(float(a), 4), round(float(b), 4)) for a, b in area.get_paths()[0].vertices}
    assert {(round(a, 4), y) for a, y in zip(x, [2.0, 1.0, 3.0], strict=True)} <= corners
    assert {(round(a, 4), y) for a, y in zip(x, [4.0, 3.0, 5.0], strict=True)} <= corners
    assert ("exponent" in ax.get_xlabel()) == (against == "exponent")
    assert ax.get_ylabel() == "loss (nats)"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: plots.plot_loss([0, 1], [1.0, 2.0], window=3),
            "window must be from 1 to the number of steps, 2, got 3",
        ),
        (
            lambda: plots.plot_next_char_probs([0.5, 0.5], ITOS),
            "expected 3 probabilities, one per symbol, got shape (2,)",
        ),
        (
            lambda: plots.plot_next_char_probs([0.5, 0.3, 0.2], ITOS, mark="z"),
            "mark must be one of the symbols '.ab', got 'z'",
        ),
        (
            lambda: plots.plot_network("", n_embd=2, n_hidden=100, vocab_size=27),
            "context must have at least one character, such as '..e', got ''",
        ),
        (
            lambda: plots.plot_embedding(np.zeros((3, 1)), ITOS),
            "C has one column, shape (3, 1), and a map needs two: train with n_embd=2 or more, or draw the one number "
            "of each character on a line",
        ),
        (
            lambda: plots.plot_embedding(np.zeros((3, 10)), ITOS),
            "expected C of shape (3, 2), got (3, 10): choose two columns, or project them by PCA first",
        ),
        (
            lambda: plots.plot_embedding(np.zeros((4, 2)), ITOS),
            "expected C of shape (3, 2), got (4, 2): choose two columns, or project them by PCA first",
        ),
        (
            lambda: plots.plot_embedding(np.zeros((3, 10)), ITOS, dims=(0, 10)),
            "dims must be two different columns from 0 to 9, got (0, 10)",
        ),
        (
            lambda: plots.plot_embedding(np.zeros((3, 10)), ITOS, dims=(4, 4)),
            "dims must be two different columns from 0 to 9, got (4, 4)",
        ),
        (
            lambda: plots.plot_lr_sweep([0.0], [1.0], against="lr"),
            "against must be 'exponent' or 'rate', got 'lr'",
        ),
        (
            lambda: plots.plot_ladder(ROWS, against="seconds"),
            "against must be 'parameters' or 'time', got 'seconds'",
        ),
        (
            lambda: plots.plot_loss([0, 1, 2], [3.0, 2.0]),
            "stepi and lossi must have the same length, got shapes (3,) and (2,)",
        ),
        *(
            (
                lambda pair=pair: plots.plot_loss([0, 1], [3.0, 2.0], evals={"dev": pair}),
                "evals['dev'] must be steps and losses of the same length: write "
                "{'dev': (history.eval_stepi, history.evals['dev'])}",
            )
            for pair in ([6.1, 2.3], [6.1, 2.5, 2.3], ([0, 1], [2.0]))
        ),
    ],
)
def test_invalid_arguments_raise_ValueError(call, sentence):
    with pytest.raises(ValueError) as caught:
        call()
    plt.close("all")
    assert str(caught.value) == sentence


def test_float_window_raises_TypeError():
    with pytest.raises(TypeError, match="window must be a whole number of steps"):
        plots.plot_loss([0, 1], [3.0, 2.0], window=2.0)
    assert plt.get_fignums() == []  # no empty figure is left behind


# --- any alphabet -----------------------------------------------------------------------------------------------------

CHINESE, DEVANAGARI, ARABIC = "\u4e2d\u6587", "\u0915\u093e", "\u0628\u062a"


@pytest.fixture
def no_other_font(monkeypatch):
    monkeypatch.setattr(plots, "_other_fonts", list)
    plots._font_with.cache_clear()
    yield
    plots._font_with.cache_clear()


def drawn(ax):
    ax.figure.canvas.draw()  # a letter without a font causes a warning, which is an error in this test suite
    return ax


def test_letter_without_a_font_is_shown_as_its_code_point(ax, no_other_font):
    itos = dict(enumerate("." + CHINESE + DEVANAGARI + "\u0301\u200c \u00e9"))
    codes = [".", "4E2D", "6587", "0915", "093E", "\u25cc\u0301", "200C", "\u2423", "\u00e9"]
    probs = np.full(len(itos), 1 / len(itos))
    drawn(plots.plot_next_char_probs(probs, itos, mark=CHINESE[0], title=f"after '.{CHINESE}'", ax=ax))
    assert [label.get_text() for label in ax.get_xticklabels()] == codes
    assert ax.get_title() == "after '.(4E2D)(6587)'"
    ax.clear()
    drawn(plots.legible(plots.plot_embedding(np.eye(len(itos))[:, :2], itos, ax=ax)))
    assert [text.get_text() for text in ax.texts] == codes, "a second call must change nothing"
    ax.clear()
    drawn(plots.plot_matrix(np.eye(2), rows=list(CHINESE), columns=list(CHINESE), title="two", ax=ax))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["4E2D", "6587"]
    ax.clear()
    drawn(plots.plot_network(CHINESE, n_embd=2, n_hidden=9, vocab_size=3, ax=ax))
    drawn(plots.plot_bars({CHINESE: 1.0}, unit="ms", title=CHINESE))


def test_letter_is_drawn_in_a_font_that_has_it():
    plots._font_with.cache_clear()
    with plt.rc_context({"font.family": "STIXGeneral"}):  # has no Arabic; matplotlib's own DejaVu Sans does
        settings = dict(matplotlib.rcParams)
        ax = drawn(plots.plot_next_char_probs([0.5, 0.3, 0.2], dict(enumerate("." + ARABIC)), title=ARABIC))
        labels = [*ax.get_xticklabels(), ax.title]
        assert [label.get_text() for label in labels] == [".", *ARABIC, ARABIC]
        assert all(label.get_fontfamily()[0] == "STIXGeneral" and len(label.get_fontfamily()) > 1 for label in labels)
        assert ax.yaxis.label.get_fontfamily() == ["STIXGeneral"], "text that can be shown must stay as it is"
        assert dict(matplotlib.rcParams) == settings
        with pytest.warns(UserWarning, match="missing from"):
            drawn(plt.figure().add_subplot(title=ARABIC))
    plt.close("all")


def test_plots_of_thousands_of_symbols_show_a_limited_number(ax):
    n = 2001
    itos = {0: ".", **{i: chr(0x4E00 + i) for i in range(1, n)}}
    probs = np.arange(1.0, n + 1)[::-1] / (n * (n + 1) / 2)
    drawn(plots.plot_next_char_probs(probs, itos, mark=itos[n - 1], ax=ax))
    assert [bar.get_height() for bar in ax.patches] == [*probs[:50], probs[-1]]
    assert [bar.get_hatch() for bar in ax.patches] == [None] * 50 + ["//"]
    assert ax.get_xlabel() == "next character, the 50 most probable of 2,001"
    ax.clear()
    drawn(plots.plot_embedding(np.random.default_rng(0).normal(size=(n, 2)), itos, ax=ax))
    assert sum(len(c.get_offsets()) for c in ax.collections) == n
    assert len(ax.texts) == 150
    ax.clear()
    drawn(plots.plot_matrix(np.zeros((2, n)), columns=list(itos.values()), title="wide", ax=ax))
    assert len(ax.get_xticklabels()) == 50


@pytest.mark.parametrize(
    ("letters", "vowels"),
    [
        ("bcdefghijkloyz", "eio"),
        ("\u00e6\u00e9\u00f1\u00f8\u0131\u015f", "\u00e6\u00e9\u00f8\u0131"),
        ("αβεξωύ", "αεωύ"),
        ("абейиыюяь", "аеиыюя"),
        ("بتاوي", "اوي"),
        ("あかのおヤ", "あお"),
        ("क\u093eयइ\u0902", "\u093eइ"),
        ("אבג中王한", ""),
    ],
)
def test_vowels_of_several_scripts(letters, vowels):
    assert plots.vowels_of("." + letters) == list(vowels)


def test_embedding_without_vowels_has_no_vowel_group(ax):
    drawn(plots.plot_embedding(np.eye(3)[:, :2], dict(enumerate("." + CHINESE)), ax=ax))
    assert [c.get_label() for c in ax.collections] == ["other letter", "boundary"]
