"""The panels of 00 (board), 09, 11 and 14: what is drawn; `test_panels_kernel.py` has them in a kernel."""

import base64
import io
import itertools
import json
import math
import re

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from test_panels import leave_no_widget, leave_nothing, until

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, eval_loss, load_words, train
from mlp_lib.course.exercises import nb00
from mlp_lib.course.exercises.progress import catalogue, note_solved, solved
from mlp_lib.course.panels import board as board_module
from mlp_lib.course.panels import board_panel, embedding_panel, init_panel, train_panel
from mlp_lib.course.panels.embedding import widest_directions
from mlp_lib.lab.fast import fast_steps

WORDS = load_words()[:300]
VOCAB = Vocab.from_words(WORDS)
X, Y = build_dataset(WORDS, VOCAB)


def snapshots(n_embd, vocab=VOCAB, words=WORDS):
    g = torch.Generator().manual_seed(2147483647)
    model = MLP(MLPConfig(len(vocab), 3, n_embd, 20), g=g)
    maps = {0: model.C.detach().clone()}
    for start, stop in itertools.pairwise((0, 10, 100, 400)):
        train(model, *build_dataset(words, vocab), start=start, steps=stop - start, g=g)
        maps[stop] = model.C.detach().clone()
    return maps


@pytest.fixture(scope="module")
def maps():
    return {n_embd: snapshots(n_embd) for n_embd in (1, 2, 5)}


@pytest.fixture(autouse=True)
def record(tmp_path, monkeypatch):
    """An empty record of solved exercises."""
    monkeypatch.setenv("MLP_LIB_EXERCISES", str(tmp_path / "exercises.json"))
    return tmp_path / "exercises.json"


def new_start(**how):
    return init_panel(X, Y, MLPConfig(len(VOCAB), 3, 10, 50), seed=2147483647, **how)


PANELS = {
    "embedding_panel": lambda maps: embedding_panel(maps[2], VOCAB),
    "init_panel": lambda maps: new_start(),
    "board_panel": lambda maps: board_panel(),
}
each_panel = pytest.mark.parametrize("name", PANELS)


@each_panel
def test_controls_have_names_and_are_core_widgets(maps, name):
    panel = PANELS[name](maps)
    assert all(c.description for c in (*panel.controls.values(), *panel.buttons.values()))
    assert len(panel.image.tooltip) > 30
    for widget in [panel.image, panel.status, *panel.controls.values(), *panel.buttons.values()]:
        assert (widget._view_module, widget._model_module) == ("@jupyter-widgets/controls",) * 2


@each_panel
def test_the_page_keeps_a_picture_and_a_fixed_text(maps, name):
    panel, again = PANELS[name](maps), PANELS[name](maps)
    data = panel._repr_mimebundle_()
    png = base64.b64decode(data["image/png"])
    assert png == panel.image.value == again.image.value
    assert Image.open(io.BytesIO(png)).format == "PNG"
    assert len(png) < 45_000
    assert data["text/plain"] == repr(panel) == repr(again)
    assert repr(panel).startswith(name)
    json.dumps(data)


@each_panel
def test_every_control_changes_picture_and_readout(maps, name):
    panel = PANELS[name](maps)
    for key, control in panel.controls.items():
        before = panel.image.value
        control.index = (control.index + 1) % len(control.options)
        assert panel.error is None, f"{key}: {panel.error}"
        assert panel.image.value != before, f"{key} does nothing"


@each_panel
def test_redraws_leave_nothing(maps, name):
    leave_nothing(PANELS[name](maps), redraws=3)


@each_panel
def test_a_closed_panel_leaves_no_widget(maps, name):
    leave_no_widget(lambda: PANELS[name](maps))


@pytest.mark.torture
@each_panel
def test_a_thousand_redraws_leave_nothing(maps, name):
    leave_nothing(PANELS[name](maps), redraws=1000)


# ---- 09: the embedding -----------------------------------------------------------------------------------------------


def places(panel):
    """Where the letters stand, by letter."""
    return {t.get_text(): t.get_position() for t in panel.figure.axes[0].texts}


def lines(panel):
    """The far ends of the lines to the neighbours, in order."""
    return [tuple(line.get_xydata()[1]) for line in panel.figure.axes[0].lines if len(line.get_xydata()) == 2][:4]


@pytest.mark.parametrize("updates", [0, 10, 100, 400])
def test_the_map_shows_c_at_the_moment_chosen_and_lines_to_the_nearest(maps, updates):
    panel = embedding_panel(maps[2], VOCAB, pick="q")
    panel.controls["updates"].value = updates
    panel.controls["pick"].value = "m"
    C = maps[2][updates]
    for c, i in VOCAB.stoi.items():
        assert places(panel)[c] == pytest.approx(C[i].tolist())
    by_hand = sorted((math.dist(C[VOCAB.stoi["m"]], C[i]), c) for c, i in VOCAB.stoi.items() if c != "m")[:4]
    assert panel.readout == f"After {updates} updates, nearest to 'm': " + (
        ", ".join(f"'{c}' {d:.2f}" for d, c in by_hand) + "."
    )
    assert lines(panel) == [pytest.approx(C[VOCAB.stoi[c]].tolist()) for _, c in by_hand]
    assert panel.figure.axes[0].get_title() == f"C after {updates} updates"


def test_a_table_of_one_column_is_drawn_on_a_line(maps):
    panel = embedding_panel({k: C[:, :1] for k, C in maps[2].items()}, VOCAB)
    ax = panel.figure.axes[0]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("the number of the row", "")
    assert {y for _, y in places(panel).values()} == {0.0}
    panel.close()


def test_more_columns_are_shown_by_pca_of_the_last_table(maps):
    panel = embedding_panel(maps[5], VOCAB, pick="a")
    panel.controls["updates"].value = 100
    C, last = maps[5][100].double(), maps[5][400].double()
    variances, directions = torch.linalg.eigh(torch.cov(last.T))  # not by the way the panel takes; ascending
    view = directions[:, [-1, -2]]
    shown = torch.tensor([places(panel)[c] for c in VOCAB.stoi])
    assert shown.abs() == pytest.approx((C @ view).abs().float(), abs=1e-4)
    share = (torch.cov((C @ view).T).trace() / torch.cov(C.T).trace()).item()
    assert panel.figure.axes[0].get_title() == f"C after 100 updates\n2 of 5 directions: {share:.0%} of the variance"
    panel.controls["updates"].value = 400
    share = (variances[-2:].sum() / variances.sum()).item()
    assert f"{share:.0%} of the variance" in panel.figure.axes[0].get_title()
    D = torch.cdist(last, last)[VOCAB.stoi["a"]]
    nearest = [VOCAB.itos[i] for i in D.argsort()[1:5].tolist()]
    assert re.findall(r"'(.)' \d", panel.readout) == nearest
    flat = torch.cdist(last @ view, last @ view)[VOCAB.stoi["a"]].argsort()[1:5].tolist()
    both = len({VOCAB.stoi[c] for c in nearest} & set(flat))
    assert panel.readout.endswith(f"That is in all 5 columns; {both} of 4 are nearest on the map too.")


def test_the_frame_is_that_of_the_moment_or_of_the_whole_run(maps):
    panel = embedding_panel(maps[2], VOCAB)

    def shown():
        return (*panel.figure.axes[0].get_xlim(), *panel.figure.axes[0].get_ylim())

    own = shown()
    panel.controls["updates"].value = 0
    assert shown() != own
    panel.controls["frame"].value = "the whole run"
    fixed = shown()
    for updates, C in maps[2].items():
        panel.controls["updates"].value = updates
        assert shown() == fixed
        assert fixed[0] < C[:, 0].min() < C[:, 0].max() < fixed[1]
        assert fixed[2] < C[:, 1].min() < C[:, 1].max() < fixed[3]


def test_one_column_lies_on_a_line_and_directions_have_a_sign(maps):
    panel = embedding_panel(maps[1], VOCAB)
    assert {y for _, y in places(panel).values()} == {0.0}
    C = maps[5][400]
    assert torch.allclose(widest_directions(C), widest_directions(-C), atol=1e-4)
    assert torch.allclose(widest_directions(C).T @ widest_directions(C), torch.eye(2), atol=1e-5)


def test_other_alphabets_and_a_single_snapshot():
    words = ["αβγ", "γβ", "$<"]
    vocab = Vocab.from_words(words)
    maps = snapshots(3, vocab, words)
    panel = embedding_panel({400: maps[400]}, vocab, vowels="α", neighbours=9)
    assert panel.controls["pick"].value == "α"
    panel.controls["pick"].value = "$"
    assert panel.error is None
    assert panel.readout.count("'") == 2 + 2 * (len(vocab) - 1), "all others, when there are fewer than asked for"
    assert embedding_panel(maps, vocab, vowels="").controls["pick"].value in vocab.stoi


def test_what_is_handed_in_is_copied(maps):
    mine = {k: C.clone() for k, C in maps[2].items()}
    panel = embedding_panel(mine, VOCAB)
    readout = panel.readout
    mine[400].zero_()
    panel.redraw()
    assert panel.readout == readout


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda maps: {}, ValueError, "maps is empty"),
        (lambda maps: {-1: maps[2][0]}, ValueError, "a key of maps must be at least 0, got -1"),
        (lambda maps: {"a": maps[2][0]}, TypeError, "a key of maps must be a whole number, got 'a'"),
        (lambda maps: {0: [1, 2]}, TypeError, r"maps\[0\] must be a torch.Tensor, got list"),
        (lambda maps: {0: maps[2][0][1:]}, ValueError, r"maps\[0\] has shape \(26, 2\): a C of this vocabulary"),
        (lambda maps: {0: maps[2][0] * math.nan}, ValueError, r"maps\[0\] holds numbers that are not finite"),
        (lambda maps: {0: maps[2][0], 1: maps[5][0]}, ValueError, r"have \[2, 5\] columns"),
    ],
)
def test_tables_that_cannot_be_shown_are_refused(maps, change, error, says):
    with pytest.raises(error, match=says):
        embedding_panel(change(maps), VOCAB)


def test_a_character_that_is_not_there_is_refused(maps):
    with pytest.raises(ValueError, match="the character 'Z' in 'Z' is not among"):
        embedding_panel(maps[2], VOCAB, pick="Z")
    with pytest.raises(ValueError, match="pick must be one character, got 'ab'"):
        embedding_panel(maps[2], VOCAB, pick="ab")


# ---- 14: the start ---------------------------------------------------------------------------------------------------


def scaled(output, hidden):
    g = torch.Generator().manual_seed(2147483647)
    model = MLP(MLPConfig(len(VOCAB), 3, 10, 50), g=g)
    with torch.no_grad():
        for p, scale in ((model.W1, hidden), (model.b1, hidden), (model.W2, output), (model.b2, output)):
            p *= scale
    return model


@pytest.mark.parametrize(("output", "hidden"), [(1, 1), (0.01, 1), (1, 0.1), (0, 1), (1, 0), (0, 0), (10, 10)])
def test_the_start_is_that_of_the_scaled_network(output, hidden):
    panel = new_start()
    panel.controls["output"].value = output
    panel.controls["hidden"].value = hidden
    model = scaled(output, hidden)
    loss = eval_loss(model, X, Y)
    h = model.trace(X).h.detach()
    share = (h.abs() > 0.99).float().mean().item()
    grads = torch.autograd.grad(F.cross_entropy(model(X), Y), model.tensors())
    still = [name for name, d in zip(("C", "W1", "b1", "W2", "b2"), grads, strict=True) if (d == 0).all()]
    said = float(re.match(r"first loss ([\d.]+), uniform 3.2958 nats; ", panel.readout).group(1))
    assert said == pytest.approx(loss, abs=2e-4)
    assert f"{share:.1%} of |h| beyond .99." in panel.readout
    assert panel.readout.endswith(f"No gradient for {', '.join(still)}." if still else "Every tensor has a gradient.")

    left, right = panel.figure.axes
    curve, uniform, mark = left.lines
    assert mark.get_xydata() == pytest.approx(torch.tensor([[output, loss]]), abs=2e-4)
    assert set(uniform.get_ydata()) == {math.log(len(VOCAB))}
    assert uniform.get_linestyle() == "--"
    for x, y in curve.get_xydata()[::5]:
        assert y == pytest.approx(eval_loss(scaled(x, hidden), X, Y), rel=1e-4)
    counts = torch.histc(h, 50, -1, 1) / h.nelement()
    assert right.patches[0].get_data().values == pytest.approx(counts.numpy(), abs=1e-6)


@pytest.mark.parametrize(("output", "hidden", "still"), [(0, 1, "C, W1, b1"), (1, 0, "C, W2"), (0, 0, "C, W1, b1, W2")])
def test_zeros_leave_tensors_without_a_gradient(output, hidden, still):
    assert new_start(output=output, hidden=hidden).readout.endswith(f"No gradient for {still}.")


def test_start_panel_takes_narrow_datasets():
    x, y = build_dataset(WORDS, VOCAB, dtype=torch.uint8)
    panel = init_panel(x, y, MLPConfig(len(VOCAB), 3, 10, 50), seed=2147483647)
    assert panel.readout == new_start().readout


def test_the_scales_begin_at_the_closest_step():
    panel = new_start(output=0.011, hidden=5 / 3 / math.sqrt(30))
    assert panel.values == {"output": pytest.approx(0.01), "hidden": pytest.approx(0.316, abs=1e-3)}
    with pytest.raises(ValueError, match="output must be a scale from 0 to 10, got -1"):
        new_start(output=-1)
    with pytest.raises(ValueError, match="hidden must be a scale from 0 to 10, got nan"):
        new_start(hidden=math.nan)


def test_start_panel_for_other_sizes():
    for sizes in ((2, 1, 1, 1), (60, 8, 24, 500)):
        config = MLPConfig(*sizes)
        g = torch.Generator().manual_seed(1)
        few = torch.randint(0, config.vocab_size, (40, config.block_size + 1), generator=g)
        panel = init_panel(few[:, 1:], few[:, 0], config, seed=1)
        panel.controls["output"].value = 10.0
        assert panel.error is None
    with pytest.raises(ValueError, match="X has shape"):
        init_panel(X, Y, config, seed=1)


# ---- 11: a loss on demand --------------------------------------------------------------------------------------------


def new_train(**how):
    g = torch.Generator().manual_seed(2147483647)
    model = MLP(MLPConfig(len(VOCAB), 3, 2, 20), g=g)
    return train_panel(model, X, Y, g=g, on_demand={"dev": (X[:50], Y[:50])}, pace=0, stepper=fast_steps, **how)


def marks(panel):
    found = [line for line in panel.figure.axes[0].lines if line.get_label() == "dev loss"]
    return found[0].get_xydata().tolist() if found else []


def test_a_loss_is_measured_when_asked_for_and_marked():
    panel = new_train(first=100)
    assert marks(panel) == []
    assert "dev" not in panel.readout
    panel.buttons["dev loss"].click()
    loss = eval_loss(panel.session.model, X[:50], Y[:50])
    assert marks(panel) == [[100, loss]]
    assert f", dev loss {loss:.4f} at 100; lr 0.1" in panel.readout
    panel.buttons["dev loss"].click()
    panel.buttons["one step"].click()
    assert marks(panel) == [[100, loss]], "twice at one place is one mark, and it stays"
    panel.buttons["dev loss"].click()
    assert [x for x, _ in marks(panel)] == [100, 101]
    panel.buttons["reset"].click()
    assert marks(panel) == []
    panel.close()


def test_asking_while_it_runs_lets_it_run_on():
    panel = new_train()
    panel.buttons["start"].click()
    until(lambda: len(panel.session.history) > 50)
    panel.buttons["dev loss"].click()
    (at, _), steps = marks(panel)[0], len(panel.session.history)
    assert at >= 50
    until(lambda: len(panel.session.history) > steps)
    assert panel.session.running
    panel.buttons["pause"].click()
    # What was asked for has changed nothing: the run is that of `train`.
    g = torch.Generator().manual_seed(2147483647)
    plain = MLP(MLPConfig(len(VOCAB), 3, 2, 20), g=g)
    n = min(int(at), 2000)
    history = train(plain, X, Y, steps=n, g=g, stepper=fast_steps)
    assert torch.equal(panel.session.history.lossi[:n], history.lossi)
    panel.close()


def test_train_panel_refuses_a_pace_and_data_that_do_not_fit():
    g = torch.Generator().manual_seed(1)
    model = MLP(MLPConfig(len(VOCAB), 3, 2, 20), g=g)
    with pytest.raises(ValueError, match=r"pace must be one of 10, 100, 1000, 0 .*, got 7"):
        train_panel(model, X, Y, g=g, pace=7)
    with pytest.raises(ValueError, match="X has shape"):
        train_panel(model, X, Y, g=g, on_demand={"dev": (X[:, 1:], Y)})


# ---- 00: the board ---------------------------------------------------------------------------------------------------


def marked(panel):
    return [t.get_text()[5:] for t in panel.figure.axes[0].texts if t.get_text().startswith("[ok] ")]


def test_the_board_shows_every_exercise_in_order_and_marks_those_solved():
    for number in ("1.2", "13.1", "99.9"):  # the last is none of ours: perhaps a newer course's
        note_solved(number)
    panel = board_panel()
    shown = [t.get_text() for t in panel.figure.axes[0].texts if t.get_text().startswith("[")]
    assert shown == [f"{'[ok]' if n in ('1.2', '13.1') else '[ ]'} {n}" for n, _ in catalogue()]
    total = len(catalogue())
    assert panel.readout == f"2 of {total} exercises solved. Next: 0.1 (how many symbols?)."
    nb00.toy.check(27)
    assert marked(panel) == ["1.2", "13.1"]
    panel.buttons["refresh"].click()
    assert marked(panel) == ["0.1", "1.2", "13.1"]
    assert panel.readout.startswith(f"3 of {total} exercises solved. Next: 1.1 (")


def test_a_notebook_chosen_shows_its_titles():
    note_solved("7.2")
    panel = board_panel()
    panel.controls["notebook"].value = "7"
    texts = [t.get_text() for t in panel.figure.axes[0].texts]
    for number, title in catalogue():
        assert (title in texts) == number.startswith("7.")
    assert marked(panel) == ["7.2"]


def test_all_solved():
    for number, _ in catalogue():
        note_solved(number)
    assert board_panel().readout == f"All {len(catalogue())} exercises solved."


def test_forgetting_takes_a_second_press_that_is_no_double_click(record, monkeypatch):
    note_solved("1.2")
    panel = board_panel()
    forget = panel.buttons["forget all"]
    monkeypatch.setattr(board_module, "_DOUBLE_CLICK", 60.0)  # however busy the machine is, two presses are closer
    forget.click()
    assert panel.readout.startswith("Forget all 1 solved exercises? 'yes, forget all' does it")
    assert forget.description == "yes, forget all"
    forget.click()  # at once: a double click
    assert "1.2" in solved()
    monkeypatch.setattr(board_module, "_DOUBLE_CLICK", 0.0)
    for keep in (panel.buttons["refresh"].click, lambda: setattr(panel.controls["notebook"], "value", "7")):
        forget.description = "yes, forget all"
        keep()
        assert forget.description == "forget all"
        assert panel.readout.startswith("1 of")
        forget.click()
        assert "1.2" in solved(), "the question was taken back: this press asks it again"
    forget.click()
    assert solved() == {}
    assert not record.exists()
    assert forget.description == "forget all"
    assert panel.readout.startswith("0 of")
    assert repr(panel) == "board_panel: show, refresh, forget all"


def test_a_record_that_cannot_be_read_is_named_and_left_alone(record, monkeypatch):
    note_solved("1.2")
    good = record.read_text()
    record.write_text("<img src=x onerror=alert(1)>")
    panel = board_panel()
    assert panel.readout.startswith(f"[no] {record} is damaged or the file of another program")
    assert marked(panel) == []
    monkeypatch.setattr(board_module, "_DOUBLE_CLICK", 0.0)
    panel.buttons["forget all"].click()
    panel.buttons["forget all"].click()
    assert panel.readout.startswith("[no] ")
    assert record.read_text() == "<img src=x onerror=alert(1)>"
    record.write_text(good)
    panel.buttons["refresh"].click()
    assert marked(panel) == ["1.2"]


def test_where_ci_is_set_the_board_lives_as_long_as_the_kernel(record, monkeypatch):
    monkeypatch.delenv("MLP_LIB_EXERCISES")
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("XDG_DATA_HOME", str(record.parent))
    panel = board_panel()
    assert panel.readout.endswith("Kept until the kernel ends, since CI is set.")
    note_solved("1.2")
    panel.buttons["refresh"].click()
    assert marked(panel) == ["1.2"]
    panel.buttons["forget all"].click()
    monkeypatch.setattr(board_module, "_DOUBLE_CLICK", 0.0)
    panel.buttons["forget all"].click()
    assert marked(panel) == []
    assert not list(record.parent.iterdir())
