"""The panels that measure and train in a moment (05 to 08, 10), without a kernel, and the worker under them."""

import _thread
import base64
import io
import math
import random
import re
import threading
import time

import ipywidgets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from test_panels import leave_no_widget, leave_nothing, until

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, eval_loss, load_words, make_splits, train
from mlp_lib.course.panels import gradient_noise_panel, sizes_panel, sweep_panel
from mlp_lib.course.panels.background import Worker
from mlp_lib.course.panels.gradient_noise import full_gradient
from mlp_lib.course.panels.sizes import distinct
from mlp_lib.lab.fast import fast_steps
from mlp_lib.sweep import lr_sweep
from mlp_lib.train import train_steps

WORDS = load_words()[:300]
VOCAB = Vocab.from_words(WORDS)
X, Y = build_dataset(WORDS, VOCAB)
SPLITS = make_splits(WORDS, VOCAB)
DATA = SPLITS[:4]
CONFIG = MLPConfig(len(VOCAB), 3, 2, 20)


def new_model():
    g = torch.Generator().manual_seed(2147483647)
    return MLP(CONFIG, g=g), g


def new_noise(**how):
    start, g = new_model()
    late, g = new_model()
    train(late, X, Y, steps=1000, g=g, stepper=fast_steps)
    return gradient_noise_panel({"start": start, "late": late}, X, Y, **({"largest": 1024} | how))


def new_sweep(**how):
    model, g = new_model()
    return sweep_panel(model, X, Y, g=g, **({"steps": 200, "seeds": 3, "train_for": 300} | how))


def new_sizes(**how):
    return sizes_panel(CONFIG, *DATA, **({"steps": 500, "n_words": 100} | how))


PANELS = {"gradient_noise_panel": new_noise, "sweep_panel": new_sweep, "sizes_panel": new_sizes}
each_panel = pytest.mark.parametrize("name", PANELS)


@pytest.fixture
def make():
    """Makes a panel by name, and closes it after the test; no thread is left."""
    made = []

    def make(name, **how):
        made.append(PANELS[name](**how))
        return made[-1]

    yield make
    for panel in made:
        panel.close()
    assert workers() == []


def workers():
    return [t for t in threading.enumerate() if t.name.startswith(("Worker", "lr_sweep"))]


def settled(panel):
    """The panel when it has nothing more to do, and has said so."""
    if hasattr(panel, "worker"):
        assert panel.worker.wait(30)
        until(lambda: not workers())
    return panel


def move(control):
    if isinstance(control, ipywidgets.Dropdown):
        options = [value for _, value in control._options_full]
        control.value = options[(options.index(control.value) + 1) % len(options)]
    elif isinstance(control, ipywidgets.FloatLogSlider):
        control.value = control.value * 4
    elif isinstance(control, ipywidgets.FloatSlider):
        control.value -= 0.5
    else:
        control.value += 2


# ---- what holds for each ---------------------------------------------------------------------------------------------


@each_panel
def test_names_for_a_screen_reader_and_core_widgets_only(make, name):
    panel = make(name)
    assert all(child.description for child in [*panel.controls.values(), *panel.buttons.values()])
    assert len(panel.image.tooltip) > 30
    for widget in [panel.image, panel.status, *panel.children[0].children, *panel.children[1].children]:
        assert (widget._view_module, widget._model_module) == ("@jupyter-widgets/controls",) * 2
    if hasattr(panel, "worker"):
        assert panel.worker.bar in panel.children
        assert panel.worker.bar.description == "progress"


@each_panel
def test_the_page_keeps_the_same_picture_and_text_every_time(make, name):
    data, again = make(name)._repr_mimebundle_(), make(name)._repr_mimebundle_()
    png = base64.b64decode(data["image/png"])
    assert data["image/png"] == again["image/png"]
    assert data["text/plain"] == again["text/plain"]
    assert data["text/plain"].startswith(name)
    assert Image.open(io.BytesIO(png)).format == "PNG"
    assert len(png) < 60_000


@each_panel
def test_every_control_changes_picture_and_readout(make, name):
    panel = make(name)
    for key, control in panel.controls.items():
        before = panel.image.value, panel.readout
        move(control)
        settled(panel)
        assert panel.error is None, f"{key}: {panel.error}"
        assert panel.image.value != before[0], f"{key} draws nothing"
        assert panel.readout != before[1] or key == "against", f"{key} says nothing"


@each_panel
def test_the_first_picture_is_there_at_once(make, name):
    make(name).close()  # the compiled loop is loaded
    clock = time.perf_counter()
    make(name)
    assert time.perf_counter() - clock < 5  # a second on a quiet machine, and for the data of a page


@each_panel
def test_redraws_leave_nothing(make, name):
    leave_nothing(make(name), redraws=3)


@pytest.mark.torture
@each_panel
def test_a_thousand_redraws_leave_nothing(make, name):
    leave_nothing(make(name), redraws=1000)


@each_panel
def test_a_closed_panel_leaves_no_widget(name):
    leave_no_widget(PANELS[name])


def test_panels_of_the_same_name_end_the_one_before_and_others_run_beside_it(make):
    first = make("sweep_panel")
    first.controls["steps"].value = 5000
    beside = make("sizes_panel")
    beside.controls["steps"].value = 50_000
    second = make("sweep_panel")
    assert not first.worker.running
    assert beside.worker.running
    assert first.worker._closed
    assert not second.worker._closed
    beside.close()
    assert workers() == []
    first.buttons["train with it"].click()  # a dead picture on a page that was run again
    assert first.readout == "[error] RuntimeError: this panel is closed: run its cell again"


@pytest.mark.parametrize("name", ["sweep_panel", "sizes_panel"])
def test_the_axis_label_is_never_cut_off(make, name):
    """The axes keep the place of the first picture; larger numbers beside them must not push the label out."""
    panel = make(name)
    if name == "sweep_panel":
        panel.controls["hi"].value = 2.0
    else:
        panel.controls["steps"].value = 1000
    settled(panel)
    (ax,) = panel.figure.axes
    ax.set_ylim(18, 18.12)  # numbers of five characters
    panel.figure.draw_without_rendering()
    assert ax.yaxis.label.get_window_extent().x0 >= 0


# ---- 05: noise -------------------------------------------------------------------------------------------------------


def flat_gradient(model, Xb, Yb):
    grads = torch.autograd.grad(F.cross_entropy(model(Xb), Yb), model.tensors())
    return torch.cat([d.flatten() for d in grads])


def test_full_gradient_is_that_of_one_forward_pass():
    model, _ = new_model()
    assert torch.allclose(full_gradient(model, X, Y), flat_gradient(model, X, Y), atol=1e-5)
    other = MLP(MLPConfig(len(VOCAB), 15, 2, 5), g=torch.Generator().manual_seed(1))  # too wide for one number
    Xw, Yw = build_dataset(WORDS, VOCAB, 15)
    assert torch.allclose(full_gradient(other, Xw, Yw), flat_gradient(other, Xw, Yw), atol=1e-5)


def test_full_gradient_of_a_model_in_float64():
    model, _ = new_model()
    expected = flat_gradient(model, X, Y)
    found = full_gradient(model.double(), X, Y)
    assert found.dtype == torch.float64
    assert torch.allclose(found.float(), expected, atol=1e-6)


def test_narrow_datasets_are_shown_the_same(make):
    models = {"start": new_model()[0]}
    x, y = X.to(torch.uint8), Y.to(torch.uint8)
    wide, narrow = (gradient_noise_panel(models, *data, largest=64) for data in ((X, Y), (x, y)))
    assert narrow.readout == wide.readout
    narrow_data = [t.to(torch.uint8) for t in DATA]
    said = [sizes_panel(CONFIG, *data, steps=500, n_words=100).readout for data in (DATA, narrow_data)]
    assert said[0] == said[1]


def test_noise_dots_are_the_cosines(make):
    panel = make("gradient_noise_panel")
    panel.controls["network"].value = "late"
    panel.controls["batch_size"].value = 128.0
    panel.controls["seed"].value = 5
    late, g = new_model()
    train(late, X, Y, steps=1000, g=g, stepper=fast_steps)
    rows = torch.randint(0, len(Y), (32, 128), generator=torch.Generator().manual_seed(5))
    some = torch.stack([flat_gradient(late, X[ix], Y[ix]) for ix in rows])
    expected = F.cosine_similarity(some, flat_gradient(late, X, Y)[None], dim=1)
    direction, times = panel.figure.axes
    (newest,) = [line for line in direction.lines if line.get_color() == "#0072B2"]
    assert newest.get_ydata() == pytest.approx(expected.tolist(), abs=1e-4)
    assert newest.get_xdata().mean() == pytest.approx(128, rel=0.05)
    assert panel.readout.startswith(f"128 examples, late: mean cosine {expected.mean():.3f}, from ")
    (at,) = [line for line in times.lines if line.get_marker() == "s"]
    ms = at.get_ydata()[0]
    assert panel.readout.endswith(f"; {ms:.1f} ms a step" if ms >= 1 else f"; {1e3 * ms:.0f} us a step")


def test_noise_more_examples_point_better_and_seen_sizes_stay(make):
    panel = make("gradient_noise_panel")
    assert "a step" not in panel.readout  # a time would make another picture on every machine
    seen = []
    for size in (2.0, 32.0, 1024.0):
        panel.controls["batch_size"].value = size
        seen.append(float(panel.readout.split("mean cosine ")[1].split(",")[0]))
    assert seen == sorted(seen)
    assert seen[-1] > 0.95
    dots = [line for line in panel.figure.axes[0].lines if line.get_marker() == "o"]
    assert len(dots) == 4 + 3  # those it began with, and these (32 was its own first)
    assert len(panel.figure.axes[1].lines[0].get_xdata()) == 3
    said = panel.readout
    panel.buttons["fresh draw"].click()
    assert panel.controls["seed"].value == 2147483647 + 1
    assert panel.readout != said


def test_noise_changes_no_model_and_draws_from_no_generator_of_others(make):
    start, _ = new_model()
    kept = [p.clone() for p in start.tensors()]
    state = torch.get_rng_state()
    panel = gradient_noise_panel({"start": start}, X, Y)
    panel.controls["batch_size"].value = 256.0
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(start.tensors(), kept, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 2000}, "batch_size is 2000, but largest is 1024"),
        ({"draws": 1}, "draws must be at least 2"),
        ({"largest": 1}, "largest must be at least 2"),
    ],
)
def test_noise_refuses_what_it_cannot_show(how, said):
    with pytest.raises(ValueError, match=said):
        new_noise(**how)
    with pytest.raises(ValueError, match="models is empty"):
        gradient_noise_panel({}, X, Y)


# ---- 06: the sweep ---------------------------------------------------------------------------------------------------


def test_sweep_curve_band_and_rate_are_those_of_lr_sweep(make):
    panel = make("sweep_panel")
    panel.controls["lo"].value = -2.5
    panel.controls["hi"].value = 0.5
    panel.controls["seeds"].value = 4
    panel.controls["window"].value = 31
    settled(panel)
    model, g = new_model()
    how = {"steps": 200, "seeds": 4, "fresh": True, "window": 31, "stepper": fast_steps}
    expected = lr_sweep(model, X, Y, lo=10**-2.5, hi=10**0.5, g=g, **how)
    (ax,) = panel.figure.axes
    mean, lowest = ax.lines[:2]
    assert mean.get_ydata() == pytest.approx(expected.mean.tolist(), nan_ok=True)
    assert mean.get_xdata() == pytest.approx(expected.lre.tolist())
    assert lowest.get_xdata()[0] == pytest.approx(math.log10(expected.suggestion))
    edge = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert edge.max() == pytest.approx(expected.band[1][expected.band[1].isfinite()].max().item())
    assert panel.readout.startswith(f"lowest at rate {expected.suggestion:.3g} (smoothed loss ")
    assert f"of 4 sweeps alone from {expected.minima.min():.3g} to {expected.minima.max():.3g}" in panel.readout


def test_smoothing_is_another_look_at_the_same_losses(make):
    panel = make("sweep_panel", stepper=train_steps)
    before = panel.readout
    panel.controls["window"].value = 61
    assert not panel.worker.running
    assert panel.readout != before
    assert "smoothed over 61 steps" in panel.figure.axes[0].lines[0].get_label()


def test_sweep_train_with_it_tells_the_exact_loss_and_leaves_model_and_g(make):
    model, g = new_model()
    kept, state = [p.clone() for p in model.tensors()], g.get_state()
    panel = sweep_panel(model, X, Y, g=g, steps=200, seeds=2, train_for=300)
    panel.buttons["train with it"].click()
    settled(panel)
    twin, own = new_model()
    train(twin, X, Y, steps=300, lr=float(panel.figure.axes[0].lines[1].get_label().split()[-1]), g=own)
    assert f"Trained 300 steps at {panel.readout.split()[3]}: loss {eval_loss(twin, X, Y):.2f}" in panel.readout
    (diamond,) = [line for line in panel.figure.axes[0].lines if line.get_marker() == "D"]
    assert diamond.get_ydata()[0] == pytest.approx(eval_loss(twin, X, Y), abs=0.02)
    assert all(torch.equal(p, q) for p, q in zip(model.tensors(), kept, strict=True))
    assert torch.equal(g.get_state(), state)
    panel.close()


def test_a_change_ends_the_sweep_and_training_waits_for_it(make):
    panel = make("sweep_panel")
    panel.controls["steps"].value = 5000
    panel.controls["seeds"].value = 16
    assert panel.worker.running
    assert panel.readout.startswith(("sweeping, 16 times 5,000 steps", "working"))
    panel.controls["steps"].value = 500
    panel.buttons["train with it"].click()
    settled(panel)
    assert "of 16 sweeps" in panel.readout
    assert panel.readout.count("Trained 300 steps") == 1
    assert len(panel.figure.axes[0].lines[0].get_xdata()) == 500
    rate = panel.readout.split()[3]
    assert f"Trained 300 steps at {rate}" in panel.readout, "with the rate of the new sweep"


def test_sweep_says_what_is_wrong_with_a_range_and_recovers(make, recwarn):
    panel = make("sweep_panel")
    picture = panel.image.value
    panel.controls["lo"].value = 0.0
    settled(panel)
    assert panel.readout.startswith("[no] lo must be below hi, got lo=1 and hi=1: ")
    assert panel.image.value == picture
    panel.controls["lo"].value = -6.0
    panel.controls["hi"].value = -2.0
    settled(panel)
    assert panel.readout.endswith(": an end of the range, so nothing has turned: widen it")
    assert [str(w.message) for w in recwarn] == []


def test_the_warning_of_a_sweep_at_its_edge_is_silent_in_the_panel_only(make):
    make("sweep_panel").close()
    model, g = new_model()
    with pytest.warns(UserWarning, match="the smoothed loss is lowest at lr"):
        lr_sweep(model, X, Y, steps=2, g=g)  # of two points, one is the lowest


def test_an_error_in_the_sweep_shows_in_the_panel(make):
    broken = False

    def stepper(*data, **how):
        for k, step in enumerate(fast_steps(*data, **how)):
            if broken and k == 20:
                raise OSError("the disk is full")
            yield step

    panel = make("sweep_panel", stepper=stepper)
    broken = True
    panel.controls["seeds"].value = 2
    settled(panel)
    assert panel.readout == "[error] OSError: the disk is full"
    broken = False
    panel.controls["seeds"].value = 5
    settled(panel)
    assert "of 5 sweeps" in panel.readout


def test_a_result_of_the_page_is_shown_without_another_sweep(make):
    model, g = new_model()
    result = lr_sweep(model, X, Y, lo=0.01, hi=10, steps=150, seeds=2, stepper=fast_steps, g=g)
    panel = make("sweep_panel", result=result, stepper=None)
    values = panel.values
    assert (values["lo"], values["hi"], values["steps"], values["seeds"]) == (-2.0, 1.0, 150, 2)
    assert panel.readout.startswith(f"lowest at rate {result.suggestion:.3g}")


def test_sweep_stores_a_picture_of_few_bytes(make):
    panel = make("sweep_panel")
    stored = base64.b64decode(panel._repr_mimebundle_()["image/png"])
    assert len(stored) < 0.6 * len(panel.image.value)
    small, shown = (
        np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=int) for png in (stored, panel.image.value)
    )
    assert small.shape == shown.shape
    assert np.abs(small - shown).max() <= 19


# ---- 07, 08, 10: sizes -----------------------------------------------------------------------------------------------


def fitted(n_embd, n_hidden, words, steps, seed=2147483647, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    model = MLP(MLPConfig(len(VOCAB), 3, n_embd, n_hidden), g=g)
    with torch.no_grad():
        for p in (model.W1, model.b1, model.W2, model.b2):
            p *= scale
    # The words of train in order: their examples again, so that nothing is taken from the panel's own counting.
    count = (SPLITS.Xtr == 0).all(1).cumsum(0) <= words
    x, y = SPLITS.Xtr[count], SPLITS.Ytr[count]
    train(model, x, y, steps=steps, lr=lambda i: 0.1 if i < 0.75 * steps else 0.01, g=g, stepper=fast_steps)
    return model.config.n_parameters, eval_loss(model, x, y), eval_loss(model, SPLITS.Xdev, SPLITS.Ydev)


def drawn(panel, newest):
    """(x, loss) of train and of dev, of the newest network or of those before."""
    (ax,) = panel.figure.axes
    colors = {"train": "#0072B2", "dev": "#D55E00"}
    found = {"train": [], "dev": []}
    for line in ax.lines:
        split = line.get_gid()
        if split and (line.get_color() == colors[split]) == newest:
            found[split].append((line.get_xdata()[0], line.get_ydata()[0]))
    return found


def test_sizes_trains_what_the_controls_say(make):
    panel = make("sizes_panel", scale=0.5)
    for key, value in {"n_embd": 5, "n_hidden": 40, "words": 200, "steps": 1000, "seed": 7}.items():
        panel.controls[key].value = value
    settled(panel)
    parameters, on_train, on_dev = fitted(5, 40, 200, 1000, seed=7, scale=0.5)
    new = drawn(panel, newest=True)
    assert new == {"train": [(200, pytest.approx(on_train, 1e-5))], "dev": [(200, pytest.approx(on_dev, 1e-5))]}
    said = re.fullmatch(
        rf"n_embd 5, n_hidden 40, 200 words, 1,000 steps: {parameters:,} parameters, train (\S+), dev (\S+), "
        r"dev - train (\S+); seed 7",
        panel.readout,
    )
    numbers = [float(n) for n in said.groups()]
    assert numbers == pytest.approx([on_train, on_dev, on_dev - on_train], abs=2e-4)
    panel.controls["against"].value = "parameters"
    assert drawn(panel, newest=True)["dev"][0][0] == parameters
    panel.controls["against"].value = "steps"
    assert drawn(panel, newest=True)["dev"][0][0] == 1000
    assert not panel.worker.running, "another axis trains nothing"


def test_sizes_before_stay_in_grey_until_reset(make):
    earlier = [(3481, 2.4, 2.5, 50, 1000), (500, 2.6, 2.7)]  # the second has no words: it is not on that axis
    panel = make("sizes_panel", earlier=earlier)
    assert panel.readout.startswith("2 networks trained before, in grey")
    assert drawn(panel, newest=False) == {"train": [(50, 2.4)], "dev": [(50, 2.5)]}
    settled(panel)
    for words in (200, 100):
        panel.controls["words"].value = words
        settled(panel)
    assert [x for x, _ in drawn(panel, newest=False)["dev"]] == [50, 200]
    assert [x for x, _ in drawn(panel, newest=True)["dev"]] == [100]
    panel.buttons["train"].click()
    settled(panel)
    assert [x for x, _ in drawn(panel, newest=False)["dev"]] == [50, 200, 100]
    panel.buttons["reset"].click()
    assert [x for x, _ in drawn(panel, newest=False)["dev"]] == [50]
    assert drawn(panel, newest=True) == {"train": [], "dev": []}


def test_sizes_few_words_overfit_and_all_words_do_not(make):
    panel = make("sizes_panel", steps=5000)
    panel.controls["n_embd"].value = 10
    panel.controls["n_hidden"].value = 200
    settled(panel)
    gap = [float(panel.readout.split("dev - train ")[1].split(";")[0])]
    panel.controls["words"].value = 240
    settled(panel)
    gap.append(float(panel.readout.split("dev - train ")[1].split(";")[0]))
    assert gap[0] > gap[1] > 0


def test_sizes_without_words_has_no_such_control(make):
    panel = make("sizes_panel", n_words=None)
    assert list(panel.controls) == ["n_embd", "n_hidden", "steps", "seed"]
    parameters, on_train, _ = fitted(2, 20, 10**9, 500)
    assert drawn(panel, newest=True)["train"] == [(parameters, pytest.approx(on_train, 1e-5))]


def test_sizes_the_last_wish_counts(make):
    panel = make("sizes_panel")
    panel.controls["steps"].value = 50_000
    for hidden in range(126, 130):
        panel.controls["n_hidden"].value = hidden
    panel.controls["steps"].value = 500
    settled(panel)
    assert panel.readout.startswith("n_embd 2, n_hidden 129, 100 words, 500 steps: ")
    assert len(drawn(panel, newest=False)["dev"]) == 1  # only the first; the others were given up
    assert panel.worker.bar.layout.visibility == "hidden"


def test_sizes_reset_gives_up_what_is_under_way(make):
    panel = make("sizes_panel")
    panel.controls["steps"].value = 50_000
    assert panel.worker.bar.layout.visibility == "visible"
    panel.buttons["reset"].click()
    assert (panel.worker.running, panel.readout) == (False, "no network yet: press train")
    assert drawn(panel, newest=True)["dev"] == []


def test_sizes_a_loss_that_blew_up_is_a_sentence(make):
    panel = make("sizes_panel", earlier=[(500, 2.6, 2.7, 100, 500)], lr=1e38)
    panel.buttons["train"].click()
    settled(panel)
    assert panel.readout.startswith("[no] the loss was ")
    panel.buttons["reset"].click()
    assert panel.readout.startswith("1 network trained before")


def test_sizes_refuses_data_that_does_not_fit():
    with pytest.raises(TypeError, match="config must be an MLPConfig"):
        sizes_panel(200, *DATA)
    with pytest.raises(ValueError, match="block_size"):
        sizes_panel(MLPConfig(len(VOCAB), 4, 2, 20), *DATA)
    with pytest.raises(ValueError, match="n_words"):
        sizes_panel(CONFIG, *DATA, n_words=0)


@pytest.mark.parametrize("width", [1, 3, 15])
def test_distinct_contexts_give_the_rows_back(width):
    rows, _ = build_dataset(WORDS[:20], VOCAB, width)
    contexts, row = distinct(rows)
    assert torch.equal(contexts[row], rows)
    assert len({tuple(c) for c in contexts.tolist()}) == len(contexts) <= len(rows)


# ---- the worker ------------------------------------------------------------------------------------------------------


def test_worker_does_one_after_another_and_shows_how_far_it_is():
    said, shares = [], []
    worker = Worker(on_end=lambda: said.append("end"))
    worker.bar.observe(lambda change: shares.append(change["new"]), names="value")

    def work():
        for _ in range(10):
            time.sleep(0.03)
            worker.advance(0.1)
        said.append("work")

    worker.start(work, "working")
    assert (worker.running, worker.doing, worker.bar.layout.visibility) == (True, "working", "visible")
    worker.then(lambda: said.append("then"), "more")
    assert worker.wait(10)
    until(lambda: len(said) == 4)
    assert said == ["work", "end", "then", "end"]
    assert len(shares) > 1
    assert max(shares) > 0.3
    worker.close()


def test_worker_gives_up_what_is_not_wanted_and_keeps_an_error():
    said = []
    worker = Worker(on_end=lambda: said.append("end"))

    def forever():
        while True:
            time.sleep(0.001)
            worker.check()

    worker.start(forever, "")
    worker.then(lambda: said.append("never"), "")
    worker.start(lambda: 1 / 0, "")
    assert worker.wait(10)
    until(lambda: said == ["end"])
    assert isinstance(worker.error, ZeroDivisionError)
    worker.start(forever, "")
    assert worker.error is None
    assert not worker.wait(0.01)
    worker.close()
    assert not worker.running
    with pytest.raises(RuntimeError, match="this panel is closed: run its cell again"):
        worker.start(forever, "")


def interrupt_soon():
    """What a press on "interrupt the kernel" does, in a moment; it wakes nobody who waits without a timeout."""
    threading.Timer(0.3, _thread.interrupt_main).start()


def test_an_interrupt_ends_the_waiting_and_never_makes_a_second_thread():
    said, go_on = [], threading.Event()
    worker = Worker(on_end=lambda: None)

    def work():
        go_on.wait(10)
        said.append("first")
        worker.check()

    worker.start(work, "")
    for command in (worker.wait, worker.stop):
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            command()
        assert worker.running
        assert said == []
    go_on.set()
    until(lambda: not worker.running)  # what was to be given up is given up, although nobody waited for it
    worker.then(lambda: said.append("second"), "")
    assert worker.wait(10)
    assert said == ["first", "second"]
    worker.close()


def test_worker_where_no_thread_is_to_be_had(monkeypatch):
    worker = Worker(on_end=lambda: None)

    def start(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as system:
        system.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            worker.start(lambda: None, "")
    assert not worker.running
    worker.close()


def test_worker_counts_the_steps_of_a_plain_iterator():
    worker = Worker(on_end=lambda: None)
    steps = worker.counted(lambda *data, **how: iter([1, 2]), 1000)  # it has no close()
    assert list(steps()) == [1, 2]


@pytest.mark.parametrize("seconds", [0.7, pytest.param(30, marks=pytest.mark.torture)])
@pytest.mark.parametrize("name", ["sweep_panel", "sizes_panel"])
def test_hands_that_move_everything_fast_and_at_random(make, name, seconds):
    """From two threads at once, as a page and a cell may; at the end the panel shows what the controls say."""
    panel = make(name)
    end = time.perf_counter() + seconds
    errors = []

    def hands(seed):
        chance = random.Random(seed)
        try:
            while time.perf_counter() < end:
                if chance.random() < 0.3:
                    chance.choice(list(panel.buttons.values())).click()
                else:
                    move_somewhere(chance.choice(list(panel.controls.values())), chance)
                assert len([t for t in threading.enumerate() if t.name == "Worker"]) <= 1
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=hands, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert errors == []
    for key, value in {"lo": -3.0, "hi": 0.0, "n_hidden": 30, "steps": 500}.items():
        if key in panel.controls:
            panel.controls[key].value = value
    panel.controls["seeds" if name == "sweep_panel" else "seed"].value = 3
    settled(panel)
    if "train" in panel.buttons:
        panel.buttons["train"].click()
        settled(panel)
    assert panel.error is None, panel.error
    said = "of 3 sweeps" if name == "sweep_panel" else "n_hidden 30"
    assert said in panel.readout
    assert panel.worker.bar.layout.visibility == "hidden"


def move_somewhere(control, chance):
    if isinstance(control, ipywidgets.Dropdown):
        control.value = chance.choice([value for _, value in control._options_full])
    elif isinstance(control, ipywidgets.BoundedIntText):
        control.value = chance.randrange(100)
    else:
        control.value = type(control.value)(chance.uniform(control.min, min(control.max, 200)))
