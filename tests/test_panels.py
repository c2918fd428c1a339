"""The panels without a kernel: values are set, and what was drawn and said is read back.

For a new panel: enter it in PANELS, and add tests of its own on the data drawn below.
"""

import base64
import gc
import html
import io
import json
import mmap
import re
import threading
import time
import warnings
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.patches import Rectangle
from PIL import Image

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, eval_loss, load_words, next_char_probs, sample_words, train
from mlp_lib.course.panels import PlotPanel, network_panel, sampling_panel, softmax_panel, train_panel
from mlp_lib.course.panels.base import slider
from mlp_lib.lab.fast import fast_steps

WORDS = load_words()[:300]
VOCAB = Vocab.from_words(WORDS)
X, Y = build_dataset(WORDS[:5], VOCAB)


@pytest.fixture(scope="module")
def trained():
    g = torch.Generator().manual_seed(2147483647)
    model = MLP(MLPConfig(len(VOCAB), 3, 2, 30), g=g)
    train(model, *build_dataset(WORDS, VOCAB), steps=2000, g=g)
    return model


def new_train_panel(**how):
    g = torch.Generator().manual_seed(2147483647)
    model = MLP(MLPConfig(len(VOCAB), 3, 2, 100), g=g)
    return train_panel(model, X, Y, g=g, **how)


PANELS = {
    "network_panel": lambda model: network_panel(model, VOCAB, WORDS),
    "sampling_panel": lambda model: sampling_panel(model, VOCAB, words=WORDS),
    "softmax_panel": lambda model: softmax_panel(),
    "train_panel": lambda model: new_train_panel(floor=0.2515, first=20),
}
each_panel = pytest.mark.parametrize("name", PANELS)


@pytest.fixture
def make(trained):
    """Makes a panel by name, and closes it after the test."""
    made = []

    def make(name):
        made.append(PANELS[name](trained))
        return made[-1]

    yield make
    for panel in made:
        panel.close()
    assert [t for t in threading.enumerate() if t.name == "TrainSession"] == []


def until(condition, seconds=10.0):
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, "waited in vain"
        time.sleep(0.005)


def heights(ax):
    bars = [patch for patch in ax.patches if isinstance(patch, Rectangle)]  # until 3.8 a span was a Polygon
    return [bar.get_height() for bar in bars if bar.get_width() < 1]


# ---- what holds for every panel --------------------------------------------------------------------------------------


@each_panel
def test_every_control_and_the_picture_have_a_name_for_a_screen_reader_and_are_core_widgets(make, name):
    panel = make(name)
    assert all(control.description for control in panel.controls.values())
    assert all(button.description for button in panel.buttons.values())
    assert len(panel.image.tooltip) > 30
    assert not hasattr(panel.image, "alt"), "ipywidgets has an alt text now: use it"
    for widget in [panel.image, panel.status, *panel.controls.values(), *panel.buttons.values()]:
        assert (widget._view_module, widget._model_module) == ("@jupyter-widgets/controls",) * 2


@each_panel
def test_the_page_keeps_a_picture_and_a_fixed_text(make, name):
    panel = make(name)
    data = panel._repr_mimebundle_()
    png = base64.b64decode(data["image/png"])
    again = make(name)
    assert png == panel.image.value == again.image.value
    assert Image.open(io.BytesIO(png)).format == "PNG"
    assert len(png) < 60_000
    assert data["text/plain"] == repr(panel) == repr(again)
    assert repr(panel).startswith(name)
    assert "model_id" in data["application/vnd.jupyter.widget-view+json"]
    json.dumps(data)


@each_panel
def test_every_control_changes_picture_or_readout(make, name):
    panel = make(name)
    for key, control in panel.controls.items():
        before = panel.image.value, panel.status.value
        move(control)
        assert panel.error is None, f"{key}: {panel.error}"
        assert (panel.image.value, panel.status.value) != before or key == "pace", f"{key} does nothing"


def move(control):
    if isinstance(control, ipywidgets.Dropdown):
        options = [value for _, value in control._options_full]
        control.value = options[(options.index(control.value) + 1) % len(options)]
    elif isinstance(control, ipywidgets.Text):
        control.value = "ava"
    elif isinstance(control, ipywidgets.FloatLogSlider):
        control.value = control.value / 10
    else:
        control.value += 1


@each_panel
def test_redraws_leave_nothing(make, name):
    leave_nothing(make(name), redraws=3)


@pytest.mark.torture
@each_panel
def test_a_thousand_redraws_of_every_panel_leave_nothing(make, name):
    leave_nothing(make(name), redraws=1000)


def test_two_hundred_redraws_leave_nothing():
    def draw(figure, frequency):
        figure.text(0.5, 0.5, "x")  # axes, and each more letter, would take most of the time
        return "done"

    leave_nothing(waves(draw), redraws=200)


@each_panel
def test_a_closed_panel_leaves_no_widget(trained, name):
    leave_no_widget(lambda: PANELS[name](trained))


def leave_no_widget(make):
    """What is made and closed, twice, is not kept by ipywidgets: no control, and none of their layouts and styles."""
    there = set(ipywidgets.widgets.widget._instances)
    for _ in range(2):
        panel = make()
        assert panel.model_id in ipywidgets.widgets.widget._instances
        panel.close()
        assert set(ipywidgets.widgets.widget._instances) - there == set()


def leave_nothing(panel, redraws):
    """After many redraws there are as many Python objects, threads, widgets and figures as after two.

    After hundreds the process is also no larger, but for a few megabytes of parts that the allocator keeps.
    """
    gc.freeze()  # what is there already is neither looked through nor counted
    try:
        for _ in range(2):
            panel.redraw()
        before, size = count(), resident()
        for _ in range(redraws):
            panel.redraw()
        after = count()
    finally:
        gc.unfreeze()
    assert after[0] - before[0] < max(20, redraws // 5)  # 0 as a rule; a figure is some thousand
    assert after[1:] == before[1:]
    assert plt.get_fignums() == []
    if redraws >= 200:
        assert resident() - size < 8, "megabytes"


def resident():
    """Megabytes that the process has in memory; 0 where nobody tells."""
    told = Path("/proc/self/statm")
    return int(told.read_text().split()[1]) * mmap.PAGESIZE / 2**20 if told.exists() else 0.0


def count():
    gc.collect()
    return len(gc.get_objects()), threading.active_count(), len(ipywidgets.widgets.widget._instances)


# ---- the base --------------------------------------------------------------------------------------------------------


def waves(draw=None, **how):
    def draw_wave(figure, frequency):
        ax = figure.add_axes((0, 0, 1, 1))
        ax.axis("off")
        ax.plot(np.sin(frequency * np.linspace(0, 1, 20)))
        return f"frequency {frequency:.1f}"

    controls = {"frequency": slider("frequency", 2.0, 1, 9)}
    return PlotPanel("waves", draw or draw_wave, controls, alt="A wave.", size=(1, 1), **how)


def test_a_change_is_drawn_and_said():
    panel = waves()
    assert panel.readout == "frequency 2.0"
    picture = panel.image.value
    panel.controls["frequency"].value = 5.0
    assert panel.readout == "frequency 5.0"
    assert panel.image.value != picture
    assert panel.figure.axes[0].lines[0].get_ydata()[-1] == np.sin(5.0)
    assert repr(panel) == "waves: frequency"


def test_a_button_acts_and_the_picture_follows():
    clicks = []
    panel = waves(
        draw=lambda figure, frequency: f"{len(clicks)} clicks", buttons={"click me": lambda: clicks.append(1)}
    )
    panel.buttons["click me"].click()
    assert panel.readout == "1 clicks"


def test_the_readout_is_set_last():
    panel = waves()
    order = []
    panel.image.observe(lambda change: order.append("picture"), names="value")
    panel.status.observe(lambda change: order.append("readout"), names="value")
    panel._took = 0.0  # else, on a slow machine, it says first that it draws
    panel.controls["frequency"].value = 5.0
    assert order == ["picture", "readout"]


@pytest.mark.parametrize(
    ("error", "readout"),
    [
        (ValueError("the word is empty: type one"), "[no] the word is empty: type one"),
        (TypeError("two\nlines"), "[no] two"),
        (KeyError("x"), "[error] KeyError: 'x'"),
        (RuntimeError(), "[error] RuntimeError: no reason given"),
    ],
)
def test_errors_are_one_sentence_in_the_panel_and_the_last_picture_stays(error, readout):
    def draw(figure, frequency):
        if frequency > 4:
            raise error
        return "fine"

    panel = waves(draw=draw)
    picture = panel.image.value
    panel.controls["frequency"].value = 5.0
    assert panel.readout == readout
    assert panel.error is error
    assert panel.image.value == picture
    panel.controls["frequency"].value = 3.0
    assert (panel.readout, panel.error) == ("fine", None)


def test_what_a_buttons_action_moves_is_drawn_once():
    drawn = []

    def move_twice():
        panel.controls["frequency"].value = 5.0
        panel.controls["frequency"].value = 7.0
        if len(drawn) > 2:
            raise ValueError("that was too far")

    panel = waves(lambda figure, frequency: drawn.append(frequency) or "drawn", buttons={"far": move_twice})
    panel.buttons["far"].click()
    assert drawn == [2.0, 7.0]
    panel.controls["frequency"].value = 3.0  # and a hand is answered as before
    panel.buttons["far"].click()
    assert drawn == [2.0, 7.0, 3.0, 7.0]  # what was moved before it failed is on the picture
    assert panel.readout == "[no] that was too far"


def test_an_error_in_a_buttons_action_is_shown_too():
    def broken():
        raise ValueError("not now")

    panel = waves(buttons={"try": broken})
    panel.buttons["try"].click()
    assert panel.readout == "[no] not now"


def test_an_error_in_the_first_picture_is_raised_where_the_panel_is_made():
    def draw(figure, frequency):
        raise ValueError("no data")

    with pytest.raises(ValueError, match="no data"):
        waves(draw=draw)


def test_a_control_without_a_label_is_refused():
    with pytest.raises(ValueError, match="the control 'k' of p has no description: every control needs a label"):
        PlotPanel("p", lambda figure, k: "", {"k": ipywidgets.IntSlider()}, alt="")


def test_a_slow_panel_says_that_it_works():
    panel = waves(slow="training ...")
    said = []
    panel.status.observe(lambda change: said.append(change["new"]), names="value")
    panel.controls["frequency"].value = 5.0
    assert said == ["training ...", "frequency 5.0"]
    panel = waves()
    panel._took = 0.3
    panel.status.observe(lambda change: said.append(change["new"]), names="value")
    panel.controls["frequency"].value = 5.0
    assert said[2:] == ["drawing ...", "frequency 5.0"]


def test_closing_closes_everything_once():
    closed = []
    widgets = len(ipywidgets.widgets.widget._instances)
    panel = waves(buttons={"a": lambda: None}, on_close=lambda: closed.append(1))
    panel.close()
    panel.close()
    assert closed == [1]
    assert len(ipywidgets.widgets.widget._instances) == widgets


def test_redraws_from_several_threads_do_not_mix():
    panel = waves()
    threads = [threading.Thread(target=panel.redraw) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert panel.error is None
    assert len(panel.figure.axes) == 1


def test_a_letter_that_the_font_lacks_is_drawn_without_a_warning():
    panel = waves(draw=lambda figure, frequency: str(figure.add_subplot().set_title("\N{CJK UNIFIED IDEOGRAPH-4E2D}")))
    panel.redraw()
    assert panel.error is None, "a warning is an error here"


def test_pictures_drawn_at_once_in_two_threads_leave_the_warnings_of_others_alone():
    drawing = [threading.Event(), threading.Event()]
    go_on = [threading.Event(), threading.Event()]
    live = []

    def draw(figure, frequency):
        if frequency > 3:  # the first picture, with 2, is drawn at once
            drawing[int(frequency) - 4].set()
            assert go_on[int(frequency) - 4].wait(10)
        return "drawn"

    filters = warnings.filters
    panels = [waves(draw), waves(draw)]
    for k, panel in enumerate(panels):
        live.append(threading.Thread(target=setattr, args=(panel.controls["frequency"], "value", 4.0 + k)))
        live[-1].start()
        assert drawing[k].wait(10)
    warnings.filterwarnings("ignore", "a filter of the reader's own")
    for k in range(2):  # the first one in is the first one out
        go_on[k].set()
        live[k].join()
    assert [panel.readout for panel in panels] == ["drawn", "drawn"]
    assert warnings.filters is filters
    warnings.warn("a filter of the reader's own", stacklevel=1)  # an error, were it lost


@pytest.mark.parametrize("text", ["<b>bold</b>", "<img src=x onerror=alert(1)>", "$x^2$ & more", r"\(x\)", "'\""])
def test_markup_is_shown_as_text(text):
    panel = waves(draw=lambda figure, frequency: text)
    assert panel.readout == text
    assert panel.status.value == html.escape(text)
    assert type(panel.status).__name__ == "HTML"  # a Label would typeset the formula


def test_a_long_readout_is_one_line():
    panel = waves(draw=lambda figure, frequency: "a\nb " * 1000)
    assert panel.readout.startswith("a b a b")
    assert len(panel.readout) == 300


# ---- 03: softmax -----------------------------------------------------------------------------------------------------


def test_softmax_bars_are_the_softmax_of_the_sliders(make):
    panel = make("softmax_panel")
    for name, value in zip("abcd", (1.0, -2.5, 3.0, 0.5), strict=True):
        panel.controls[name].value = value
    panel.controls["shift"].value = 4.0
    panel.controls["right"].value = 2
    logits, prob = panel.figure.axes
    expected = F.softmax(torch.tensor([1.0, -2.5, 3.0, 0.5]), 0)
    assert heights(logits) == [5.0, 1.5, 7.0, 4.5]
    assert heights(prob) == pytest.approx(expected.tolist(), abs=1e-6)
    assert prob.lines[0].get_ydata() == pytest.approx(expected.tolist(), abs=1e-6)
    loss = -expected[2].log().item()
    assert panel.readout.startswith(f"longhand {loss:.4f} nats, F.cross_entropy {loss:.4f} nats.")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"d": 100.0}, "longhand nan nats, F.cross_entropy 0.0000 nats. exp(100) is inf in float32"),
        ({"a": 100.0}, "longhand inf nats, F.cross_entropy 98.0000 nats. exp(100) is inf in float32"),
        ({"d": -105.0}, "longhand inf nats, F.cross_entropy 105.0550 nats. The right one's probability, 2.4e-46, is 0"),
        ({"shift": -110.0}, "longhand nan nats, F.cross_entropy 0.1336 nats. Even exp(-108) is 0 in float32"),
        ({"d": 88.5, "c": 88.5}, "longhand inf nats, F.cross_entropy 0.6931 nats. The counts fit, but their sum"),
    ],
)
def test_softmax_says_why_the_longhand_fails(make, values, said):
    panel = make("softmax_panel")
    for name, value in values.items():
        panel.controls[name].value = value
    assert panel.readout.startswith(said)
    assert panel.error is None


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"logits": [1.0]}, "takes from 2 to 10 logits, got 1"),
        ({"logits": [0.0] * 11}, "takes from 2 to 10 logits, got 11"),
        ({"right": 4}, "right must be from 0 to 3"),
        ({"logits": [0] * 4 + [200]}, "each logit must be from -110 to 110"),
    ],
)
def test_softmax_refuses_what_it_cannot_show(how, said):
    with pytest.raises(ValueError, match=said):
        softmax_panel(**how)


# ---- 04: training ----------------------------------------------------------------------------------------------------


def test_train_panel_begins_with_the_steps_asked_for_and_draws_them(make):
    panel = make("train_panel")
    minibatches, exact = panel.figure.axes[0].lines[:2]
    plain_model = MLP(MLPConfig(len(VOCAB), 3, 2, 100), g=(g := torch.Generator().manual_seed(2147483647)))
    history = train(plain_model, X, Y, steps=20, g=g)
    assert minibatches.get_ydata() == pytest.approx(history.lossi.tolist())
    assert exact.get_xdata()[-1] == 20
    assert exact.get_ydata()[-1] == eval_loss(plain_model, X, Y)
    assert "floor 0.2515" in [line.get_label() for line in panel.figure.axes[0].lines]
    assert panel.readout == (
        f"paused: 20 steps, loss {eval_loss(plain_model, X, Y):.4f}, floor 0.2515; lr 0.1, batch size 32"
    )


def test_train_panel_buttons(make):
    panel = make("train_panel")
    panel.buttons["one step"].click()
    assert panel.readout.startswith("paused: 21 steps")
    panel.controls["pace"].value = 0
    panel.buttons["start"].click()
    assert panel.readout.startswith("running")
    pictures = {panel.image.value}
    until(lambda: pictures.add(panel.image.value) or len(pictures) >= 4)  # it grows by itself
    panel.controls["lr"].value = 0.01
    steps = len(panel.session.history)
    until(lambda: len(panel.session.history) > steps + 5)
    panel.controls["batch_size"].value = 0
    panel.buttons["pause"].click()
    assert not panel.session.running
    history = panel.session.history
    assert set(history.lri.tolist()) == {0.1, 0.01}
    loss = eval_loss(panel.session.model, X, Y)
    assert panel.readout == (f"paused: {len(history):,} steps, loss {loss:.4f}, floor 0.2515; lr 0.01, batch size all")
    assert "learning rate changed" in [line.get_label() for line in panel.figure.axes[0].lines]
    panel.buttons["reset"].click()
    assert panel.readout.startswith("ready: 0 steps, loss ")
    panel.buttons["one step"].click()
    assert panel.readout.startswith("paused: 1 steps")
    assert panel.session.history.lri.tolist() == [0.01]


def test_train_panel_shows_a_loss_that_blew_up_and_recovers_by_reset():
    panel = new_train_panel(lr=10.0)
    panel.session.lr = 1e40  # infinite in float32
    panel.buttons["start"].click()
    until(lambda: panel.readout.startswith("[no] the loss was"))
    assert panel.readout.endswith("try a smaller learning rate")
    panel.session.lr = 0.1
    panel.buttons["reset"].click()
    assert panel.readout.startswith("ready: 0 steps")
    panel.close()


def test_an_error_in_the_training_shows_in_the_panel():
    panel = new_train_panel()
    panel.session.stepper = broken_steps
    panel.controls["pace"].value = 0
    panel.buttons["start"].click()
    until(lambda: panel.readout == "[error] OSError: the disk is full")
    panel.close()


def broken_steps(*data, **how):
    raise OSError("the disk is full")
    yield


def test_running_the_cell_again_stops_the_thread_before(make):
    first = make("train_panel")
    first.buttons["start"].click()
    assert first.session.running
    second = make("train_panel")
    assert first.session.status == "closed"
    assert not second.session.running
    first.buttons["start"].click()  # a dead picture on a page that was run again
    assert "closed" in first.readout


def test_train_panel_with_the_compiled_loop_on_much_data():
    Xall, Yall = build_dataset(WORDS, VOCAB)
    g = torch.Generator().manual_seed(1)
    model = MLP(MLPConfig(len(VOCAB), 3, 2, 30), g=g)
    panel = train_panel(model, Xall, Yall, g=g, eval_on=(X, Y), stepper=fast_steps, first=3000)
    assert panel.readout.startswith(f"paused: 3,000 steps, loss {eval_loss(model, X, Y):.4f}; lr 0.1")
    assert panel.figure.axes[0].lines[0].get_label() == "minibatch loss, mean of 2"
    panel.close()


# ---- 12: sampling ----------------------------------------------------------------------------------------------------


def test_sampling_draws_the_librarys_names_and_marks_those_of_the_list(make, trained):
    panel = make("sampling_panel")
    panel.controls["prefix"].value = "em"
    panel.controls["temperature"].value = 0.4

    def drawn(seed):
        g = torch.Generator().manual_seed(seed)
        return sample_words(trained, VOCAB, 12, prefix="em", temperature=0.4, max_len=40, g=g)

    seed = next(seed for seed in range(100) if any(w in WORDS for w in drawn(seed)))
    names = drawn(seed)
    panel.controls["seed"].value = seed
    bars, board = panel.figure.axes
    assert heights(bars) == pytest.approx(next_char_probs(trained, VOCAB, "em", temperature=0.4).tolist())
    assert [t.get_text().rstrip(".") for t in board.texts] == [w if len(w) <= 14 else w[:12] for w in names]
    assert [t.get_gid() == "in the list" for t in board.texts] == [w in WORDS for w in names]
    known = sum(w in WORDS for w in names)
    assert 0 < known < 12, "the test should see both kinds"
    assert f"{known} of 12 names are in the list, {12 - known} are new." in panel.readout


def test_another_seed_gives_other_names(make):
    panel = make("sampling_panel")
    names = [t.get_text() for t in panel.figure.axes[1].texts]
    panel.buttons["another seed"].click()
    assert panel.controls["seed"].value == 2147483647 + 11
    assert [t.get_text() for t in panel.figure.axes[1].texts] != names
    panel.controls["seed"].value = 2**53 - 1
    panel.buttons["another seed"].click()
    assert panel.controls["seed"].value == 2**53
    panel.buttons["another seed"].click()
    assert panel.controls["seed"].value == 0


def test_names_that_are_cut_are_told_by_the_readout_and_not_by_a_warning(monkeypatch):
    model = MLP(MLPConfig(len(VOCAB), 3, 2, 30), g=torch.Generator().manual_seed(1))
    filters, seen = warnings.filters, []

    def sample(*data, **how):
        seen.append(warnings.filters)
        return ["anna", "ava"]

    panel = sampling_panel(model, VOCAB, words=WORDS, max_len=4)
    assert panel.readout.endswith("were cut at 4 characters.")
    monkeypatch.setattr("mlp_lib.course.panels.sampling.sample_words", sample)
    panel.buttons["another seed"].click()
    assert panel.readout.endswith("1 were cut at 4 characters.")
    assert all(found is filters for found in seen), "other threads draw names at the same time"
    assert len(seen) == 1
    panel.close()


BAD = [
    ("Z9", "[no] the character 'Z' in 'Z9' is not among the 27 symbols"),
    ("<img src=x onerror=alert(1)>", "[no] the character '<' in '<img src=x onerror=alert(1)>' is not among"),
    ("$\\frac{1}{2}$", "[no] the character '$'"),
    ("a" * 5000, "[no] "),
    ("a\u202eb", "[no] the character '\\u202e'"),
    (" ", "[no] the character ' '"),
]


@pytest.mark.parametrize("name", ["sampling_panel", "network_panel"])
def test_bad_text_is_answered_by_a_sentence(make, capfd, name):
    panel = make(name)
    picture = panel.image.value
    box = panel.controls["prefix" if name == "sampling_panel" else "word"]
    for text, said in BAD:
        box.value = text
        assert panel.readout.startswith(said)
        assert len(panel.readout) <= 300
        assert panel.image.value == picture
        assert capfd.readouterr() == ("", "")
    box.value = "em"
    assert panel.error is None


# ---- 00: the network -------------------------------------------------------------------------------------------------


def test_network_shows_what_the_model_computes(make, trained):
    panel = make("network_panel")
    panel.controls["word"].value = "olivia"
    for place, (context, right) in enumerate(
        [("...", "o"), ("..o", "l"), (".ol", "i"), ("oli", "v"), ("liv", "i"), ("ivi", "a"), ("via", ".")]
    ):
        panel.controls["place"].value = place
        emb, h, logits = trained.trace(torch.tensor([VOCAB.encode(context)]))
        output, hidden, lookup = panel.figure.axes
        assert heights(output) == pytest.approx(F.softmax(logits[0], 0).tolist(), abs=1e-6)
        cells = hidden.images[0].get_array()
        assert cells.flatten()[: h.shape[1]].tolist() == pytest.approx(h[0].tolist(), abs=1e-6)
        assert lookup.images[0].get_array().flatten().tolist() == pytest.approx(emb[0].flatten().tolist())
        assert [t.get_text() for t in lookup.get_xticklabels()] == [f"'{c}'" for c in context]
        p = F.softmax(logits[0], 0)[VOCAB.stoi[right]].item()
        assert panel.readout.startswith(f"'{context}' and then " + ("the end" if right == "." else f"'{right}'"))
        said = float(re.search(r"p = (\S+), loss", panel.readout).group(1))
        assert said == pytest.approx(p, rel=1e-2)


def test_a_shorter_word_brings_the_slider_along(make):
    panel = make("network_panel")
    panel.controls["word"].value = "isabella"
    panel.controls["place"].value = 8
    panel.controls["word"].value = "ava"
    assert (panel.controls["place"].max, panel.controls["place"].value) == (3, 3)
    assert panel.readout.startswith("'ava' and then the end")
    panel.controls["word"].value = ""
    assert panel.readout == "[no] the word is empty: type one"


def test_network_panel_for_other_sizes():
    words = ["αβγ", "γβ"]
    vocab = Vocab.from_words(words)
    for block_size, n_embd, n_hidden in ((1, 1, 1), (8, 24, 500)):
        g = torch.Generator().manual_seed(1)
        model = MLP(MLPConfig(len(vocab), block_size, n_embd, n_hidden), g=g)
        panel = network_panel(model, vocab, words)
        panel.controls["place"].value = 2
        assert panel.error is None
        panel = sampling_panel(model, vocab, words=words)
        assert panel.error is None
    with pytest.raises(ValueError, match="words is empty"):
        network_panel(model, vocab, [])
