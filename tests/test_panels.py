"""The panels without a kernel: tests move controls, then check the picture and the readout.

For a new panel: add it to PANELS, and add a test of the data drawn.
"""

import _thread
import gc
import io
import itertools
import math
import random
import re
import threading
import time
import warnings
from contextlib import contextmanager, nullcontext

import ipywidgets
import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, eval_loss, load_words, make_splits, train, train_steps
from mlp_lib.course import panels
from mlp_lib.course.exercises import nb00
from mlp_lib.course.exercises.progress import catalogue, note_solved, solved
from mlp_lib.course.panels.base import PlotPanel, slider
from mlp_lib.course.panels.embedding import embedding_panel, widest_directions
from mlp_lib.course.panels.gradient_noise import full_gradient
from mlp_lib.course.panels.worker import Worker
from mlp_lib.lab.fast import fast_steps
from mlp_lib.sample import next_char_probs, sample_words
from mlp_lib.sweep import lr_sweep

WORDS = load_words()[:300]
VOCAB = Vocab.from_words(WORDS)
X, Y = build_dataset(WORDS, VOCAB)
SPLITS = make_splits(WORDS, VOCAB)
SEED = 2147483647


def new_model(n_embd=2, n_hidden=20):
    g = torch.Generator().manual_seed(SEED)
    return MLP(MLPConfig(len(VOCAB), 3, n_embd, n_hidden), g=g), g


def trained(n_embd):
    """A trained model, and copies of C from its training."""
    model, g = new_model(n_embd)
    maps = {0: model.C.detach().clone()}
    for start, stop in itertools.pairwise((0, 10, 100, 400, 1000)):
        train(model, X, Y, start=start, steps=stop - start, g=g, stepper=fast_steps)
        maps[stop] = model.C.detach().clone()
    return model, maps


MODEL, MAPS = trained(2)[0], {n_embd: trained(n_embd)[1] for n_embd in (1, 2, 5)}


def new_train(**how):
    model, g = new_model()
    return panels.train_panel(model, X, Y, g=g, **how)


def new_noise():
    return panels.gradient_noise_panel({"start": new_model()[0], "late": MODEL}, X, Y)


def new_sweep(steps=200, seeds=3, **how):
    model, g = new_model()
    result = lr_sweep(model, X, Y, steps=steps, runs=seeds, fresh=True, stepper=fast_steps, g=g)
    return panels.sweep_panel(model, X, Y, g=g, result=result, train_for=300, **how)


def new_sizes(**how):
    return panels.sizes_panel(MODEL.config, *SPLITS[:4], **({"steps": 500, "n_words": 100} | how))


PANELS = {
    "board_panel": panels.board_panel,
    "network_panel": lambda: panels.network_panel(MODEL, VOCAB, WORDS),
    "softmax_panel": panels.softmax_panel,
    "train_panel": lambda: new_train(floor=0.2515, first=20, on_demand={"dev": (X[:50], Y[:50])}),
    "gradient_noise_panel": new_noise,
    "sweep_panel": new_sweep,
    "sizes_panel": new_sizes,
    "embedding_panel": lambda: embedding_panel(MAPS[5], VOCAB),
    "sampling_panel": lambda: panels.sampling_panel(MODEL, VOCAB, words=WORDS),
    "init_panel": lambda: panels.init_panel(X, Y, MLPConfig(len(VOCAB), 3, 10, 50), seed=SEED),
}
each_panel = pytest.mark.parametrize("name", PANELS)
each_stepper = pytest.mark.parametrize("stepper", [train_steps, fast_steps], ids=lambda s: s.__name__)


@pytest.fixture(autouse=True)
def record(tmp_path, monkeypatch):
    """An empty record of solved exercises; afterwards checks that no thread is left."""
    monkeypatch.setenv("MLP_LIB_EXERCISES", str(tmp_path / "exercises.json"))
    yield tmp_path / "exercises.json"
    for name in ("train_panel", "sweep_panel", "sizes_panel", "worker"):
        Worker(name, on_end=print).bar.close()  # a new worker closes the previous one
    assert threads() == []


def threads():
    return [t for t in threading.enumerate() if t.name == "panel worker"]


def until(condition, seconds=20.0):
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, f"not true after {seconds} s"
        time.sleep(0.002)


def click(panel, *says):
    for button in says:
        panel.buttons[button].click()


@contextmanager
def one_picture(panel):
    """Draw one picture after several controls were moved, as when a button moves them."""
    panel._acting = True
    yield
    panel._acting = False
    panel.redraw()


def choose(panel, **values):
    """Set controls, and wait for the job that they start."""
    with one_picture(panel) if len(values) > 1 else nullcontext():
        for name, value in values.items():
            panel.controls[name].value = value
    if panel.worker:
        panel.worker.wait()
    return panel


def move(control, chance, text="ma"):
    """Set a control to a random different value, if there is one."""
    before = control.value
    for _ in range(20):
        if hasattr(control, "options"):
            control.index = chance.randrange(len(control.options))
        elif isinstance(control, ipywidgets.Text):
            control.value = text
        elif isinstance(control, ipywidgets.FloatLogSlider):
            control.value = control.base ** round(chance.uniform(control.min, control.max), 1)
        else:
            control.value = type(before)(chance.uniform(control.min, min(control.max, 200)))
        if control.value != before:
            break


def heights(ax):
    return [bar.get_height() for bar in ax.patches if bar.get_width() < 1]


# ---- every panel -----------------------------------------------------------------------------------------------------


@each_panel
def test_every_control_has_a_label_and_changes_the_picture(name):
    panel = PANELS[name]()
    assert repr(panel).startswith(f"{name}: ")
    for widget in [panel.image, panel.status, *panel.controls.values(), *panel.buttons.values()]:
        assert (widget._view_module, widget._model_module) == ("@jupyter-widgets/controls",) * 2, "no extension needed"
    for key, control in panel.controls.items():
        assert control.description
        before = panel.image.value, panel.readout
        move(control, random.Random(1))
        choose(panel)
        assert panel.error is None, f"{key}: {panel.error}"
        assert (panel.image.value, panel.readout) != before or key == "pace", f"{key} does nothing"


@each_panel
def test_stored_picture_is_reproducible_and_has_alternative_text(name):
    panel = PANELS[name]()
    data, metadata = panel._repr_mimebundle_()
    again, _ = PANELS[name]()._repr_mimebundle_()
    assert (data["image/png"], data["text/plain"]) == (again["image/png"], again["text/plain"])
    assert len(data["image/png"]) < 60_000
    assert "model_id" in data["application/vnd.jupyter.widget-view+json"]
    shown = metadata["image/png"]
    assert shown["alt"] == panel.image.tooltip
    assert len(shown["alt"]) > 30
    assert (shown["width"], shown["height"]) == Image.open(io.BytesIO(panel.image.value)).size
    assert Image.open(io.BytesIO(data["image/png"])).width == 2 * shown["width"]


@pytest.mark.parametrize("redraws", [3, pytest.param(200, marks=pytest.mark.torture)])
@each_panel
def test_redraw_and_close_leave_no_objects(name, redraws):
    there = set(ipywidgets.widgets.widget._instances)
    panel = PANELS[name]()
    gc.freeze()  # existing objects are neither searched nor counted
    for _ in range(2):
        panel.redraw()
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(redraws):
        panel.redraw()
    gc.collect()
    assert len(gc.get_objects()) - before < max(20, redraws // 5)  # usually 0; a figure would be thousands
    gc.unfreeze()
    panel.close()
    assert set(ipywidgets.widgets.widget._instances) - there == set()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("seconds", [0.5, pytest.param(30, marks=pytest.mark.torture)])
@pytest.mark.parametrize("name", ["train_panel", "sweep_panel", "sizes_panel"])
def test_panel_survives_fast_random_moves(name, seconds):
    panel, chance = PANELS[name](), random.Random(2)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        if chance.random() < 0.4:
            chance.choice(list(panel.buttons.values())).click()
        else:
            move(chance.choice(list(panel.controls.values())), chance)
        assert len(threads()) <= 1
        time.sleep(chance.random() * 0.02)
    if name == "train_panel":
        click(panel, "reset", "one step")
        assert panel.readout.startswith("paused: 1 steps, loss ")
    elif name == "sweep_panel":
        choose(panel, lo=-3.0, hi=0.0, steps=200, window=11, seeds=5)
        assert "; 4 single sweeps give " in choose(panel, seeds=4).readout
    else:
        assert choose(panel, n_embd=3, n_hidden=31, steps=500).readout.startswith("n_embd 3, n_hidden 31, ")
    assert panel.worker.bar.layout.visibility == "hidden"


# ---- the base --------------------------------------------------------------------------------------------------------


def waves(draw=lambda figure, frequency: f"frequency {frequency:.1f}", **how):
    def draw_wave(figure, frequency):
        figure.add_axes((0, 0, 1, 1), ylim=(0, 9)).plot([0, frequency])
        return draw(figure, frequency)

    return PlotPanel("waves", draw_wave, {"frequency": slider("frequency", 2.0, 1, 9)}, alt="A wave.", **how)


def test_readout_is_set_after_the_picture_and_keeps_its_numbers_meanwhile():
    panel, order = waves(), []
    panel.image.observe(lambda change: order.append("picture"), names="value")
    panel.status.observe(lambda change: order.append(re.sub("<style.*", "", change["new"], flags=re.S)), names="value")
    panel._took = 0.0
    panel.controls["frequency"].value = 5.0
    panel._took = 0.3
    panel.controls["frequency"].value = 6.0
    assert order == ["picture", "frequency 5.0", "drawing ... frequency 5.0", "picture", "frequency 6.0"]


@pytest.mark.parametrize(
    ("error", "readout"),
    [
        (ValueError("the word is empty: type one"), "[no] the word is empty: type one"),
        (TypeError("two\nlines"), "[no] two"),
        (KeyError("x"), "[error] KeyError: 'x'"),
        (RuntimeError(), "[error] RuntimeError: no reason given"),
    ],
)
def test_error_is_shown_in_one_line_and_the_last_picture_stays(error, readout):
    def draw(figure, frequency):
        if frequency > 4:
            raise error
        return "fine"

    panel = waves(draw)
    picture = panel.image.value
    choose(panel, frequency=5.0)
    assert (panel.readout, panel.error, panel.image.value) == (readout, error, picture)
    choose(panel, frequency=3.0)
    assert (panel.readout, panel.error) == ("fine", None)
    with pytest.raises(ZeroDivisionError):  # an error in the first picture is raised by the constructor
        waves(lambda figure, frequency: 1 / 0)


def test_button_causes_one_redraw_and_shows_its_error():
    drawn = []

    def move_twice():
        choose(panel, frequency=5.0)
        choose(panel, frequency=7.0)
        raise ValueError("that was too far")

    panel = waves(lambda figure, frequency: drawn.append(frequency) or "drawn", buttons={"far": move_twice})
    click(panel, "far")
    assert drawn == [2.0, 7.0]
    assert panel.readout == "[no] that was too far"
    choose(panel, frequency=3.0)
    assert drawn == [2.0, 7.0, 3.0]


def test_missing_glyph_gives_no_warning_inside_a_panel_only():
    seen = []

    def draw(figure, frequency):
        seen.append(warnings.filters)
        return str(figure.axes[0].set_title("\N{CJK UNIFIED IDEOGRAPH-4E2D}"))

    assert waves(draw).error is None
    assert seen == [warnings.filters], "a panel must use the global filters: local ones are not thread-safe"
    figure = Figure()
    figure.text(0.5, 0.5, "\N{CJK UNIFIED IDEOGRAPH-4E2D}")
    with pytest.warns(UserWarning, match="missing from"):
        figure.savefig(io.BytesIO())


@pytest.mark.parametrize("text", ["<img src=x onerror=alert(1)>", "$x^2$ & more", "'\"", "a\nb " * 1000])
def test_markup_is_shown_as_plain_text_in_one_line(text):
    panel = waves(lambda figure, frequency: text)
    assert panel.readout == " ".join(text.split())[:296] + (" ..." if len(text) > 300 else "")
    shown = panel.status.value.partition("<style")[0]
    assert "<" not in shown
    assert type(panel.status) is ipywidgets.HTML  # a Label would typeset the formula


# ---- the worker ------------------------------------------------------------------------------------------------------


def test_worker_start_ends_the_job_under_way_and_keeps_errors():
    said = []
    worker = Worker("worker", on_end=lambda: said.append(worker.running))

    def forever():
        while True:
            worker.check(0.001)

    worker.start(forever, "waiting")
    assert (worker.running, worker.doing) == (True, "waiting")
    worker.start(lambda: 1 / 0)
    worker.wait()
    assert isinstance(worker.error, ZeroDivisionError)
    assert said == [False]  # on_end was not called for the job that was ended
    worker.start(forever)
    assert worker.error is None
    Worker("another", on_end=print)
    assert worker.running
    Worker("worker", on_end=print)  # the cell is run again
    assert not worker.running
    with pytest.raises(ValueError, match="this panel is closed: run its cell again"):
        worker.start(forever)


def test_interrupt_ends_the_wait_and_starts_no_second_thread():
    said, go_on = [], threading.Event()
    worker = Worker("worker", on_end=print)

    def job():
        go_on.wait(10)
        said.append("first")
        worker.check()
        said.append("not ended")

    worker.start(job)
    for command in (worker.stop, lambda: worker.start(lambda: said.append("too soon"))):
        # What "interrupt the kernel" does, after 0.3 s; it does not wake a wait without a timeout.
        threading.Timer(0.3, _thread.interrupt_main).start()
        with pytest.raises(KeyboardInterrupt):
            command()
        assert worker.running
        assert len(threads()) == 1
    go_on.set()
    worker.start(lambda: said.append("second"))
    until(lambda: not worker.running)
    assert said == ["first", "second"]


# ---- 00: the board ---------------------------------------------------------------------------------------------------


def marked(panel):
    return [t.get_text()[5:] for t in panel.figure.axes[0].texts if t.get_text().startswith("[ok] ")]


def test_board_marks_solved_exercises(record, monkeypatch):
    for number in ("1.2", "13.1", "99.9"):  # the last is unknown, as if from a newer version of the course
        note_solved(number)
    panel = panels.board_panel()
    assert marked(panel) == ["1.2", "13.1"]
    assert panel.readout == f"2 of {len(catalogue())} exercises solved. Next: 0.1 (how many symbols?)."
    nb00.toy.check(27)
    click(panel, "refresh")
    assert marked(panel) == ["0.1", "1.2", "13.1"]
    choose(panel, notebook="13")
    texts = [t.get_text() for t in panel.figure.axes[0].texts]
    assert all((title in texts) == number.startswith("13.") for number, title in catalogue())
    record.write_text("<img src=x onerror=alert(1)>")
    click(panel, "refresh")
    assert panel.readout.startswith(f"[no] {record} is not a record of solved exercises, or it is damaged")
    monkeypatch.delenv("MLP_LIB_EXERCISES")
    monkeypatch.setenv("CI", "true")
    assert panels.board_panel().readout.endswith("Kept until the kernel ends, since CI is set.")


def test_board_forgets_at_a_second_press_but_not_at_a_double_click(record, monkeypatch):
    note_solved("1.2")
    panel = panels.board_panel()
    monkeypatch.setattr(panels.board, "_DOUBLE_CLICK", 60.0)  # even on a busy machine two presses take less
    click(panel, "forget all", "forget all")
    assert panel.readout.startswith("Forget all 1 solved exercises? Press 'yes, forget all', or")
    assert panel.buttons["forget all"].description == "yes, forget all"
    assert "1.2" in solved()
    monkeypatch.setattr(panels.board, "_DOUBLE_CLICK", 0.0)
    for keep in (lambda: click(panel, "refresh"), lambda: choose(panel, notebook="7")):
        keep()
        assert panel.buttons["forget all"].description == "forget all"
        click(panel, "forget all")
        assert "1.2" in solved(), "after a cancel, the next press must ask again"
    click(panel, "forget all")
    assert not record.exists()
    assert panel.readout.startswith("0 of")


# ---- 00: the network, 12: sampling -----------------------------------------------------------------------------------


def test_network_panel_shows_the_models_tensors():
    panel = choose(PANELS["network_panel"](), word="ava")
    for place, (context, right) in enumerate([("...", "a"), ("..a", "v"), (".av", "a"), ("ava", ".")]):
        choose(panel, place=place)
        emb, h, logits = MODEL.trace(torch.tensor([VOCAB.encode(context)]))
        output, hidden, lookup = panel.figure.axes
        prob = F.softmax(logits[0], 0)
        assert heights(output) == pytest.approx(prob.tolist(), abs=1e-6)
        assert hidden.images[0].get_array().flatten().tolist() == pytest.approx(h[0].tolist(), abs=1e-6)
        assert lookup.images[0].get_array().flatten().tolist() == pytest.approx(emb[0].flatten().tolist())
        assert [t.get_text() for t in lookup.get_xticklabels()] == [f"'{c}'" for c in context]
        assert panel.readout.startswith(f"'{context}' and then " + ("the end" if right == "." else f"'{right}'"))
        assert f"p = {prob[VOCAB.stoi[right]]:.3g}, loss" in panel.readout
    choose(panel, word="isabella", place=8)
    choose(panel, word="ava")  # a shorter word limits the slider
    assert (panel.controls["place"].max, panel.controls["place"].value) == (3, 3)
    assert choose(panel, word="").readout == "[no] the word is empty: type one"


def test_sampling_panel_shows_the_names_of_sample_words_and_marks_known_ones():
    panel = choose(PANELS["sampling_panel"](), prefix="em", temperature=0.4)

    def drawn(seed):
        return sample_words(MODEL, VOCAB, 12, prefix="em", temperature=0.4, g=torch.Generator().manual_seed(seed))

    seed = next(seed for seed in range(1000) if 0 < sum(w in WORDS for w in drawn(seed)) < 12)
    names = drawn(seed)
    choose(panel, seed=seed)
    bars, board = panel.figure.axes
    assert heights(bars) == pytest.approx(next_char_probs(MODEL, VOCAB, "em", temperature=0.4).tolist())
    assert [t.get_text().rstrip(".") for t in board.texts] == [w if len(w) <= 14 else w[:12] for w in names]
    assert [t.get_gid() == "in the list" for t in board.texts] == [w in WORDS for w in names]
    known = sum(w in WORDS for w in names)
    assert f"{known} of 12 names are in the list, {12 - known} are new." in panel.readout
    choose(panel, seed=2**53)
    click(panel, "another seed")
    assert panel.controls["seed"].value == 0
    assert [t.get_text() for t in panel.figure.axes[1].texts] != names


def test_sampling_panel_reports_cut_names_in_the_readout(monkeypatch):
    monkeypatch.setattr(panels.sampling, "_MAX_LEN", 3)
    assert re.search(r"\d+ were cut at 3 characters\.$", PANELS["sampling_panel"]().readout)


@pytest.mark.parametrize(("name", "box"), [("sampling_panel", "prefix"), ("network_panel", "word")])
def test_invalid_text_gives_a_message_and_keeps_the_picture(name, box):
    panel = PANELS[name]()
    picture = panel.image.value
    for text in ("Z9", "<img src=x onerror=alert(1)>", "a\u202eb"):
        said = choose(panel, **{box: text}).readout
        assert re.match(r"\[no\] the character '.+' in '.+' is not among the 27 symbols", said)
    assert "has 5000 characters: type one of at most 40" in choose(panel, **{box: "a" * 5000}).readout
    assert panel.image.value == picture
    assert choose(panel, **{box: "em"}).error is None


def test_panels_work_with_another_alphabet_and_other_sizes():
    words = ["αβγ", "γβ", "$<"]
    vocab = Vocab.from_words(words)
    x, y = build_dataset(words, vocab)
    for n_embd, n_hidden in ((1, 1), (24, 60)):
        model = MLP(MLPConfig(len(vocab), 3, n_embd, n_hidden), g=torch.Generator().manual_seed(1))
        made = [
            panels.network_panel(model, vocab, words),
            panels.sampling_panel(model, vocab, words=words),
            embedding_panel({0: model.C}, vocab, vowels=""),
            panels.init_panel(x, y, model.config, seed=1),
            panels.gradient_noise_panel({"it": model}, x, y, batch_size=5000),
            panels.sizes_panel(model.config, x, y, x, y, steps=50, n_words=100),
        ]
        for panel in made:
            with one_picture(panel):
                for name, control in panel.controls.items():
                    if name == "pick":
                        control.value = "$"
                    else:
                        move(control, random.Random(1), text="γ$")
            choose(panel)
            assert panel.error is None


# ---- 03: softmax, 14: initialisation ---------------------------------------------------------------------------------


def test_softmax_panel_bars_are_the_softmax_of_the_sliders():
    panel = choose(panels.softmax_panel(), a=1.0, b=-2.5, c=3.0, d=0.5, shift=4.0, right=2)
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
def test_softmax_panel_explains_why_the_longhand_fails(values, said):
    assert choose(panels.softmax_panel(), **values).readout.startswith(said)


def scaled(output, hidden):
    model = MLP(MLPConfig(len(VOCAB), 3, 10, 50), g=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        for p, scale in ((model.W1, hidden), (model.b1, hidden), (model.W2, output), (model.b2, output)):
            p *= scale
    return model


@pytest.mark.parametrize(("output", "hidden"), [(1, 1), (0.01, 1), (0, 1), (1, 0), (10, 10)])
def test_init_panel_shows_the_scaled_network(output, hidden):
    panel = choose(PANELS["init_panel"](), output=output, hidden=hidden)
    model = scaled(output, hidden)
    h, loss = model.trace(X).h.detach(), eval_loss(model, X, Y)
    gradients = torch.autograd.grad(F.cross_entropy(model(X), Y), model.tensors())
    still = [name for name, d in zip(model.config.shapes, gradients, strict=True) if (d == 0).all()]
    said = float(re.match(r"first loss ([\d.]+), uniform 3.2958 nats; ", panel.readout)[1])
    assert said == pytest.approx(loss, abs=2e-4)
    assert f"{(h.abs() > 0.99).float().mean():.1%} of |h| beyond .99." in panel.readout
    assert panel.readout.endswith(f"No gradient for {', '.join(still)}." if still else "Every tensor has a gradient.")
    left, right = panel.figure.axes
    curve, uniform, mark = left.lines
    assert mark.get_xydata() == pytest.approx(torch.tensor([[output, loss]]), abs=2e-4)
    assert set(uniform.get_ydata()) == {math.log(len(VOCAB))}
    for x, y in curve.get_xydata()[::5]:
        assert y == pytest.approx(eval_loss(scaled(x, hidden), X, Y), rel=1e-4)
    counts = torch.histc(h, 50, -1, 1).numpy()
    assert right.patches[0].get_data().values == pytest.approx(counts / counts.sum(), abs=1e-6)


# ---- 04, 11: training ------------------------------------------------------------------------------------------------


@each_stepper
def test_train_panel_gives_exactly_the_run_of_train(stepper):
    calls = []

    def noted(*data, **how):
        calls.append(how)
        return stepper(*data, **how)

    panel = new_train(first=20, stepper=noted, pace=0, on_demand={"dev": (X[:50], Y[:50])})
    training, history = panel.training, panel.training.history

    def go_on():
        n = len(history)
        until(lambda: len(history) > n + 30)

    click(panel, "one step", "start")
    go_on()
    for change in ({"lr": 0.01}, {"batch_size": 4}, {"pace": 1000}, {"batch_size": 0, "lr": 0.2}, {"pace": 0}):
        for name, value in change.items():
            panel.controls[name].value = value
        go_on()
    click(panel, "dev loss")
    assert panel.worker.running
    go_on()
    click(panel, "start", "pause", "one step")
    assert not panel.worker.running
    assert {0.1, 0.01, 0.2} == set(history.lri.tolist())
    assert {32, 4, None} == {how["batch_size"] for how in calls}
    assert "learning rate changed" in [line.get_label() for line in panel.figure.axes[0].lines]
    loss = eval_loss(training.model, X, Y)
    assert panel.readout.startswith(f"paused: {len(history):,} steps, loss {loss:.4f}, dev loss")

    model, g = new_model()
    losses = []
    for how, then in itertools.pairwise([*calls, {"start": len(history)}]):
        same = {name: how[name] for name in ("lr", "batch_size", "start")}
        losses += train(model, X, Y, steps=then["start"] - how["start"], g=g, stepper=stepper, **same).lossi.tolist()
    assert history.lossi.tolist() == losses
    assert history.stepi.tolist() == list(range(len(losses)))
    assert all(torch.equal(p, q) for p, q in zip(training.model.tensors(), model.tensors(), strict=True))
    assert torch.equal(training.g.get_state(), g.get_state())


def test_train_panel_draws_the_record_and_reset_restores_the_start():
    panel = PANELS["train_panel"]()
    model, g = new_model()
    history = train(model, X, Y, steps=20, g=g)
    loss, dev, C = eval_loss(model, X, Y), eval_loss(model, X[:50], Y[:50]), panel.training.model.C
    minibatches, exact = panel.figure.axes[0].lines[:2]
    assert minibatches.get_ydata() == pytest.approx(history.lossi.tolist())
    assert (exact.get_xdata()[-1], exact.get_ydata()[-1]) == (20, loss)
    assert panel.readout == f"paused: 20 steps, loss {loss:.4f}, floor 0.2515; lr 0.1, batch size 32"
    click(panel, "dev loss", "dev loss")
    (mark,) = [line for line in panel.figure.axes[0].lines if line.get_label() == "dev loss"]
    assert mark.get_xydata().tolist() == [[20, dev]]
    assert f", dev loss {dev:.4f} at 20; lr 0.1" in panel.readout
    click(panel, "reset")
    assert re.match("ready: 0 steps, loss [0-9.]+, floor 0.2515; lr", panel.readout)
    click(panel, *["one step"] * 20)
    assert panel.training.history.lossi.tolist() == history.lossi.tolist()
    assert all(torch.equal(p, q) for p, q in zip(panel.training.model.tensors(), model.tensors(), strict=True))
    assert panel.training.model.C is C, "the panel must train the page's own tensors"


def test_train_panel_keeps_its_pace_and_ends_after_its_steps():
    panel = new_train(steps=8, pace=10)
    pictures = {panel.image.value}
    click(panel, "start")
    while panel.worker.running:
        pictures.add(panel.image.value)
    assert len(pictures) >= 4
    assert choose(panel).readout.startswith("done: 8 steps")
    click(panel, "start", "one step")
    assert choose(panel).readout.startswith("done: 8 steps")
    panel = new_train(steps=6, pace=10, eval_on=(X[:5], Y[:5]))
    panel._draw = lambda figure, **values: str(figure.add_subplot())  # so fast that only the pace limits the run
    click(panel, "start")
    clock = time.perf_counter()
    choose(panel)
    assert time.perf_counter() - clock > 0.35


def test_train_panel_reports_a_diverged_loss_or_an_error_and_recovers():
    panel = new_train(lr=1e40, first=5)  # infinite in float32
    assert re.match(r"\[no\] the loss was \S+ at step \d \(lr 1e\+40\): reset, and try a smaller", panel.readout)
    n = len(panel.training.history)
    click(panel, "start", "one step")
    assert len(panel.training.history) == n
    click(panel, "reset")
    assert panel.readout.startswith("ready: 0 steps")

    def broken(*data, **how):
        raise OSError("the disk is full")
        yield

    panel.training.stepper = broken
    click(panel, "start")
    assert choose(panel).readout == "[error] OSError: the disk is full"
    panel.training.stepper = train_steps
    click(panel, "one step")
    assert re.match(r"paused: 1 steps|\[no\] the loss was", panel.readout)
    with pytest.raises(ValueError, match="lr must be a number above 0, which a slider can show, got 0:"):
        new_train(lr=0)


# ---- 05: noise -------------------------------------------------------------------------------------------------------


def flat_gradient(model, Xb, Yb):
    return torch.cat([d.flatten() for d in torch.autograd.grad(F.cross_entropy(model(Xb), Yb), model.tensors())])


def test_gradient_noise_dots_are_the_cosines_of_minibatch_gradients():
    panel = new_noise()
    assert "per step" not in panel.readout  # a time would make the first picture differ between machines
    kept, state = [p.clone() for p in MODEL.tensors()], torch.get_rng_state()
    choose(panel, network="late", batch_size=128.0, seed=5)
    rows = torch.randint(0, len(Y), (32, 128), generator=torch.Generator().manual_seed(5))
    some = torch.stack([flat_gradient(MODEL, X[ix], Y[ix]) for ix in rows])
    whole = flat_gradient(MODEL, X, Y)
    assert torch.allclose(full_gradient(MODEL, X, Y), whole, atol=1e-5)
    expected = F.cosine_similarity(some, whole[None], dim=1)
    direction, times = panel.figure.axes
    (newest,) = [line for line in direction.lines if line.get_color() == "#0072B2"]
    assert newest.get_ydata() == pytest.approx(expected.tolist(), abs=1e-4)
    assert newest.get_xdata().mean() == pytest.approx(128, rel=0.05)
    assert panel.readout.startswith(f"128 examples, late: mean cosine {expected.mean():.3f}, from ")
    ms = times.lines[-1].get_ydata()[0]
    assert panel.readout.endswith(f"; {ms:.1f} ms per step" if ms >= 1 else f"; {1e3 * ms:.0f} us per step")
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(MODEL.tensors(), kept, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    before = len(panel.figure.axes[0].lines)
    choose(panel, batch_size=1024.0)
    assert len(panel.figure.axes[0].lines) > before, "batch sizes seen before must stay in the picture"
    said = panel.readout
    click(panel, "fresh draw")
    assert panel.controls["seed"].value == 6
    assert panel.readout != said


# ---- 06: the sweep ---------------------------------------------------------------------------------------------------


def test_sweep_panel_shows_the_result_of_lr_sweep():
    panel = new_sweep()
    first = panel.readout
    choose(panel, window=31)
    assert panel.readout != first
    choose(panel, lo=-2.5, hi=0.5, seeds=4)
    model, g = new_model()
    wanted = lr_sweep(model, X, Y, lo=10**-2.5, hi=10**0.5, steps=200, runs=4, fresh=True, stepper=fast_steps, g=g)
    wanted = type(wanted)(wanted.lre, wanted.lrs, wanted.lossi, window=31)
    (ax,) = panel.figure.axes
    mean, lowest = ax.lines[:2]
    assert mean.get_ydata() == pytest.approx(wanted.mean.tolist(), nan_ok=True)
    assert mean.get_xdata() == pytest.approx(wanted.lre.tolist())
    assert lowest.get_xdata()[0] == pytest.approx(math.log10(wanted.suggestion))
    edge = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert edge.max() == pytest.approx(wanted.band[1][wanted.band[1].isfinite()].max().item())
    assert panel.readout.startswith(f"lowest at rate {wanted.suggestion:.3g} (smoothed loss ")
    assert f"; 4 single sweeps give {wanted.minima.min():.3g} to {wanted.minima.max():.3g}" in panel.readout


def test_sweep_panel_trains_with_the_rate_of_the_requested_sweep():
    model, g = new_model()
    kept, state = [p.clone() for p in model.tensors()], g.get_state()
    result = lr_sweep(model, X, Y, steps=200, runs=3, fresh=True, stepper=fast_steps, g=g)
    panel = panels.sweep_panel(model, X, Y, g=g, result=result, train_for=300)
    panel.controls["seeds"].value = 16
    panel.controls["steps"].value = 2000
    assert panel.readout.startswith("sweeping, 16 times 2,000 steps ... lowest at rate ")
    click(panel, "train with it")
    choose(panel)
    assert all(torch.equal(p, q) for p, q in zip(model.tensors(), kept, strict=True))
    assert torch.equal(g.get_state(), state)
    assert len(panel.figure.axes[0].lines[0].get_xdata()) == 2000
    (diamond,) = [line for line in panel.figure.axes[0].lines if line.get_marker() == "D"]
    rate = 10 ** diamond.get_xdata()[0]
    assert rate == pytest.approx(10 ** panel.figure.axes[0].lines[1].get_xdata()[0]), "the rate of the new sweep"
    train(model, X, Y, steps=300, lr=rate, g=g, stepper=fast_steps)
    assert diamond.get_ydata()[0] == pytest.approx(eval_loss(model, X, Y), abs=1e-3)
    assert panel.readout.endswith(f". Trained 300 steps at {rate:.3g}: loss {diamond.get_ydata()[0]:.3f}")


def test_sweep_panel_explains_what_is_wrong_with_a_range():
    panel = new_sweep()
    picture = panel.image.value
    assert choose(panel, lo=0.0).readout.startswith("[no] lo and hi must be rates with 0 < lo < hi, got 1")
    assert panel.image.value == picture
    choose(panel, lo=-6.0, hi=-2.0)  # pytest would turn the library's warning about this into an error
    assert panel.readout.endswith(": an end of the range, so the loss has not turned: widen the range")
    model, g = new_model()
    with pytest.warns(UserWarning, match="the smoothed loss is lowest at lr"):
        lr_sweep(model, X, Y, steps=2, g=g)  # one of two points is the lowest; outside panels the warning stays


# ---- 07, 08, 10: sizes -----------------------------------------------------------------------------------------------


def drawn(panel, newest):
    """(x, loss) of train and of dev, for the newest network or for the previous ones."""
    found = {"train": [], "dev": []}
    for line in panel.figure.axes[0].lines:
        if line.get_gid() and (line.get_color() == {"train": "#0072B2", "dev": "#D55E00"}[line.get_gid()]) == newest:
            found[line.get_gid()].append((line.get_xdata()[0], pytest.approx(line.get_ydata()[0], 1e-5)))
    return found


def test_sizes_panel_trains_the_chosen_network():
    panel = choose(new_sizes(scale=0.5), n_embd=5, n_hidden=40, words=200, steps=1000, seed=7)
    g = torch.Generator().manual_seed(7)
    model = MLP(MLPConfig(len(VOCAB), 3, 5, 40), g=g)
    with torch.no_grad():
        for p in (model.W1, model.b1, model.W2, model.b2):
            p *= 0.5
    first = (SPLITS.Xtr == 0).all(1).cumsum(0) <= 200  # words
    x, y = SPLITS.Xtr[first], SPLITS.Ytr[first]
    train(model, x, y, steps=1000, lr=lambda i: 0.1 if i < 750 else 0.01, g=g, stepper=fast_steps)
    on_train, on_dev = eval_loss(model, x, y), eval_loss(model, SPLITS.Xdev, SPLITS.Ydev)
    assert drawn(panel, newest=True) == {"train": [(200, on_train)], "dev": [(200, on_dev)]}
    said = re.fullmatch(
        rf"n_embd 5, n_hidden 40, 200 words, 1,000 steps: {model.config.n_parameters:,} parameters, train (\S+), "
        r"dev (\S+), dev - train (\S+); seed 7",
        panel.readout,
    )
    assert [float(n) for n in said.groups()] == pytest.approx([on_train, on_dev, on_dev - on_train], abs=2e-4)
    for against, x in (("parameters", model.config.n_parameters), ("steps", 1000)):
        panel.controls["against"].value = against
        assert not panel.worker.running, "a change of the axis must not train"
        assert drawn(panel, newest=True)["dev"] == [(x, on_dev)]


def test_sizes_panel_keeps_previous_networks_in_grey_until_reset():
    earlier = [(3481, 2.4, 2.5, 50, 1000), (500, 2.6, 2.7)]  # the second has no words, so that axis omits it
    panel = new_sizes(earlier=earlier)
    assert panel.readout.startswith("2 networks trained before, in grey")
    assert drawn(panel, newest=False) == {"train": [(50, 2.4)], "dev": [(50, 2.5)]}
    said = choose(panel, words=200).readout
    click(panel, "train")
    assert [x for x, _ in drawn(choose(panel), newest=False)["dev"]] == [50, 200]
    panel.controls["steps"].value = 50_000
    assert panel.readout == f"training n_embd 2, n_hidden 20, 200 words, 50,000 steps ... {said}"
    click(panel, "reset")
    assert [x for x, _ in drawn(panel, newest=False)["dev"]] == [50]
    assert drawn(panel, newest=True)["dev"] == []
    panel = new_sizes(earlier=earlier, scale=1e38)
    click(panel, "train")
    assert choose(panel).readout.startswith("[no] the loss was ")


def test_sizes_panel_trains_the_last_change_and_reset_ends_the_run():
    panel = new_sizes(n_words=None)
    assert "words" not in panel.controls
    panel.controls["steps"].value = 50_000
    until(lambda: panel.worker.bar.value > 0)
    assert panel.worker.bar.layout.visibility == "visible"
    for hidden in range(126, 130):
        panel.controls["n_hidden"].value = hidden
    assert choose(panel, steps=500).readout.startswith("n_embd 2, n_hidden 129, 500 steps: ")
    assert len(drawn(panel, newest=False)["dev"]) == 1, "only the first network was completed before this one"
    panel.controls["steps"].value = 50_000
    click(panel, "reset")
    assert panel.worker.bar.value < 0.9
    assert (panel.worker.running, panel.readout) == (False, "no network yet: press train")
    assert panel.worker.bar.layout.visibility == "hidden"


@pytest.mark.parametrize(("name", "change"), [("sweep_panel", {"hi": 2.0}), ("sizes_panel", {"steps": 1000})])
def test_axis_label_is_never_cut_off(name, change):
    """The axes keep the position of the first picture; longer tick labels must not push the axis label out."""
    panel = choose(PANELS[name](), **change)
    (ax,) = panel.figure.axes
    ax.set_ylim(18, 18.12)  # numbers of five characters
    panel.figure.draw_without_rendering()
    assert ax.yaxis.label.get_window_extent().x0 >= 0


# ---- 09: the embedding -----------------------------------------------------------------------------------------------


def places(panel):
    """The position of each letter."""
    return {t.get_text(): t.get_position() for t in panel.figure.axes[0].texts}


@pytest.mark.parametrize("updates", [0, 100, 400])
def test_embedding_panel_shows_C_and_the_nearest_characters(updates):
    panel = choose(embedding_panel(MAPS[2], VOCAB), updates=updates, pick="m")
    C = MAPS[2][updates]
    for c, i in VOCAB.stoi.items():
        assert places(panel)[c] == pytest.approx(C[i].tolist())
    nearest = sorted((math.dist(C[VOCAB.stoi["m"]], C[i]), c) for c, i in VOCAB.stoi.items() if c != "m")[:4]
    said = ", ".join(f"'{c}' {d:.2f}" for d, c in nearest)
    assert panel.readout == f"After {updates} updates, nearest to 'm': {said}."
    lines = [line.get_xydata()[1] for line in panel.figure.axes[0].lines if len(line.get_xydata()) == 2][:4]
    assert [tuple(end) for end in lines] == [pytest.approx(C[VOCAB.stoi[c]].tolist()) for _, c in nearest]


def test_embedding_panel_projects_many_columns_and_draws_one_on_a_line():
    panel = choose(embedding_panel(MAPS[5], VOCAB), updates=100, pick="a")
    C, last = MAPS[5][100].double(), MAPS[5][1000].double()
    _, directions = torch.linalg.eigh(torch.cov(last.T))  # a different method from the panel's; ascending
    view = directions[:, [-1, -2]]
    shown = torch.tensor([places(panel)[c] for c in VOCAB.stoi])
    assert shown.abs() == pytest.approx((C @ view).abs().float(), abs=1e-4)
    share = (torch.cov((C @ view).T).trace() / torch.cov(C.T).trace()).item()
    assert panel.figure.axes[0].get_title() == f"C after 100 updates\n2 of 5 directions: {share:.0%} of the variance"
    i = VOCAB.stoi["a"]
    nearest, on_the_map = (torch.cdist(P, P)[i].argsort()[1:5].tolist() for P in (C, C @ view))
    assert re.findall(r"'(.)' \d", panel.readout) == [VOCAB.itos[j] for j in nearest]
    both = len({*nearest} & {*on_the_map})
    assert panel.readout.endswith(f"These are nearest in all 5 columns; {both} of 4 are also nearest on the map.")
    assert torch.allclose(widest_directions(last), widest_directions(-last), atol=1e-4), "the sign must be fixed"
    assert {y for _, y in places(embedding_panel(MAPS[1], VOCAB)).values()} == {0.0}


def test_embedding_panel_frame_fits_the_moment_or_the_whole_run():
    panel = embedding_panel(MAPS[2], VOCAB)
    for frame in ("this moment", "the whole run"):
        frames = set()
        for updates, C in MAPS[2].items():
            (ax,) = choose(panel, updates=updates, frame=frame).figure.axes
            frames.add((*ax.get_xlim(), *ax.get_ylim()))
            assert ax.get_xlim()[0] < C[:, 0].min() < C[:, 0].max() < ax.get_xlim()[1]
            assert ax.get_ylim()[0] < C[:, 1].min() < C[:, 1].max() < ax.get_ylim()[1]
        assert (len(frames) == 1) == (frame == "the whole run")
    with pytest.raises(ValueError, match=r"maps\[10\] holds numbers that are not finite: the training blew up"):
        embedding_panel({**MAPS[2], 10: MAPS[2][0] * math.nan}, VOCAB)
