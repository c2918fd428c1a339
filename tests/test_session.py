"""A training run under somebody's hands: what is left after a pause is what `train` would have made."""

import _thread
import math
import random
import threading
import time

import pytest
import torch

from mlp_lib import MLP, MLPConfig, Vocab, build_dataset, train, train_steps
from mlp_lib.course.panels.session import TrainSession
from mlp_lib.lab.fast import fast_steps

WORDS = ["emma", "olivia", "ava", "isabella", "sophia"]
VOCAB = Vocab.from_words(WORDS)
X, Y = build_dataset(WORDS, VOCAB)


def new_model():
    g = torch.Generator().manual_seed(2147483647)
    return MLP(MLPConfig(len(VOCAB), 3, 2, 10), g=g), g


def workers():
    return [t for t in threading.enumerate() if t.name == "TrainSession"]


def until(condition, seconds=10.0):
    end = time.perf_counter() + seconds
    while not condition():
        assert time.perf_counter() < end, "waited in vain"
        time.sleep(0.002)


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert workers() == []


def assert_as_trained(session, segments, stepper):
    """`segments` are (steps, lr, batch_size), one after another, given to the plain `train`."""
    model, g = new_model()
    losses = []
    for steps, lr, batch_size in segments:
        history = train(model, X, Y, start=len(losses), steps=steps, lr=lr, batch_size=batch_size, g=g, stepper=stepper)
        losses += history.lossi.tolist()
    assert session.history.lossi.tolist() == losses
    assert session.history.stepi.tolist() == list(range(len(losses)))
    assert all(torch.equal(p, q) for p, q in zip(session.model.tensors(), model.tensors(), strict=True))
    assert torch.equal(session.g.get_state(), g.get_state())


def segments_of(session, batch_sizes):
    """Neighbouring steps with the same settings, as `train` would be called; `batch_sizes[i]` belongs to step i."""
    segments = []
    for lr, batch_size in zip(session.history.lri.tolist(), batch_sizes, strict=True):
        if segments and segments[-1][1:] == (lr, batch_size):
            segments[-1] = (segments[-1][0] + 1, lr, batch_size)
        else:
            segments.append((1, lr, batch_size))
    return segments


each_stepper = pytest.mark.parametrize("stepper", [train_steps, fast_steps], ids=lambda s: s.__name__)


@each_stepper
def test_steps_one_by_one_are_the_plain_run(stepper):
    with TrainSession(*new_model()[:1], X, Y, g=new_model()[1], stepper=stepper) as session:
        assert session.status == "ready"
        session.step()
        session.step(20)
        assert session.status == "paused"
        assert_as_trained(session, [(21, 0.1, 32)], stepper)


@each_stepper
def test_state_after_a_pause_is_exact_whatever_was_changed_on_the_way(stepper):
    model, g = new_model()
    with TrainSession(model, X, Y, g=g, stepper=stepper) as session:
        marks = []
        for lr, batch_size in ((0.1, 32), (0.05, 32), (0.05, 4), (0.2, None)):
            session.lr = lr
            before = len(session.history)
            session.batch_size = batch_size  # also while it runs: the worker stands still meanwhile
            session.start()
            until(lambda before=before: len(session.history) > before + 30)
            session.pause()
            assert not session.running
            marks.append((len(session.history) - before, lr, batch_size))
        assert_as_trained(session, marks, stepper)


@each_stepper
def test_changes_while_it_runs_hold_from_the_next_step(stepper):
    model, g = new_model()
    with TrainSession(model, X, Y, g=g, stepper=stepper, lr=0.1) as session:
        session.start()
        until(lambda: len(session.history) > 50)
        session.lr = 0.02
        assert session.running
        until(lambda: 0.02 in session.history.lri.tolist()[-1:])
        session.pause()
        lri = session.history.lri.tolist()
        assert set(lri) == {0.1, 0.02}
        assert lri == sorted(lri, reverse=True)
        assert_as_trained(session, segments_of(session, [32] * len(lri)), stepper)


@each_stepper
def test_reset_brings_back_the_first_state_and_the_same_run(stepper):
    model, g = new_model()
    first, first_g = [p.detach().clone() for p in model.tensors()], g.get_state()
    with TrainSession(model, X, Y, g=g, stepper=stepper) as session:
        session.step(40)
        losses = session.history.lossi
        session.start()
        session.reset()
        assert session.status == "ready"
        assert all(torch.equal(p, q) for p, q in zip(model.tensors(), first, strict=True))
        assert torch.equal(g.get_state(), first_g)
        session.step(40)
        assert torch.equal(session.history.lossi, losses)


def test_reset_keeps_the_storage_that_notebook_tensors_share():
    model, g = new_model()
    C = model.C
    with TrainSession(model, X, Y, g=g) as session:
        session.step(3)
        session.reset()
    assert model.C is C


def test_it_ends_by_itself_at_the_last_step():
    model, g = new_model()
    with TrainSession(model, X, Y, g=g, steps=70) as session:
        session.start()
        assert session.wait(10)
        assert session.status == "done"
        session.start()  # nothing is left to do
        session.step()
        assert len(session.history) == 70
        assert_as_trained(session, [(70, 0.1, 32)], train_steps)


def test_a_loss_that_is_not_finite_ends_it_and_says_so():
    model, g = new_model()
    with TrainSession(model, X, Y, g=g, lr=1e30) as session:
        session.start()
        assert session.wait(10)
        assert session.status == "stopped"
        assert "try a smaller learning rate" in session.history.stopped
        session.reset()
        assert session.status == "ready"
        session.lr = 0.1
        session.step()
        assert session.status == "paused"


def test_an_error_in_the_training_is_kept():
    model, g = new_model()

    def broken(i):
        if i == 5:
            raise ValueError("no rate for step 5")
        return 0.1

    with TrainSession(model, X, Y, g=g, lr=broken) as session:
        session.start()
        assert session.wait(10)
        assert session.status == "failed"
        assert str(session.error) == "no rate for step 5"
        assert len(session.history) == 5
        session.lr = 0.1  # mended: the next start forgets the error
        assert not session.running
        session.step()
        assert (session.status, session.error) == ("paused", None)
        assert_as_trained(session, [(6, 0.1, 32)], train_steps)


@each_stepper
def test_looking_finds_the_model_up_to_date_and_changes_nothing(stepper):
    model, g = new_model()
    seen = []

    def look(session):
        seen.append((len(session.history), [p.detach().clone() for p in session.model.tensors()]))

    with TrainSession(model, X, Y, g=g, stepper=stepper, on_look=look) as session:
        session.start()
        until(lambda: len(seen) >= 3)
        session.pause()
        assert_as_trained(session, [(len(session.history), 0.1, 32)], stepper)
    for steps, tensors in seen[:3]:
        plain, g = new_model()
        train(plain, X, Y, steps=steps, g=g, stepper=stepper)
        assert all(torch.equal(p, q) for p, q in zip(tensors, plain.tensors(), strict=True))


def test_the_last_look_knows_that_it_is_over():
    model, g = new_model()
    statuses = []
    with TrainSession(model, X, Y, g=g, steps=30, on_look=lambda s: statuses.append(s.status)) as session:
        session.start()
        assert session.wait(10)
    assert statuses[-1] == "done"


def test_an_error_in_the_looking_ends_it_and_is_kept():
    model, g = new_model()

    def look(session):
        session.pause()  # the worker would wait for itself

    with TrainSession(model, X, Y, g=g, on_look=look) as session:
        session.start()
        assert session.wait(10)
        assert session.status == "failed"
        assert "give it no command" in str(session.error)


def test_the_pace_is_kept():
    model, g = new_model()
    with TrainSession(model, X, Y, g=g, pace=100) as session:
        clock = time.perf_counter()
        session.step(20)
        assert 0.18 <= time.perf_counter() - clock < 2
        session.pace = None
        session.step(100)
        session.pace = 0.001  # the next step is due in a quarter of an hour
        session.start()
        until(lambda: len(session.history) == 121)
        clock = time.perf_counter()
        session.pause()  # but nobody waits for it
        assert time.perf_counter() - clock < 1
        assert_as_trained(session, [(121, 0.1, 32)], train_steps)


def test_a_setting_starts_no_run():
    model, g = new_model()
    with TrainSession(model, X, Y, g=g) as session:
        session.step(3)
        session.lr = 0.01
        session.batch_size = 4
        session.pace = 10
        assert workers() == []
        assert session.status == "paused"
        assert len(session.history) == 3


def test_closing_stops_the_thread_and_later_commands_say_so():
    model, g = new_model()
    session = TrainSession(model, X, Y, g=g)
    session.start()
    assert len(workers()) == 1
    session.close()
    session.close()
    assert workers() == []
    assert session.status == "closed"
    for command in (session.start, session.step, session.reset):
        with pytest.raises(RuntimeError, match="this session is closed: make a new one"):
            command()
    session.pause()  # what is closed is paused


def test_a_record_can_be_read_at_any_moment():
    model, g = new_model()
    with TrainSession(model, X, Y, g=g) as session:
        session.start()
        for _ in range(200):
            stepi, lri, lossi = session.record()
            assert len(stepi) == len(lri) == len(lossi)
    assert repr(session).startswith("TrainSession(closed, ")


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("lr", -1, "lr must be a finite number of at least 0, got -1.0: try 0.1"),
        ("lr", math.nan, "lr must be a finite number of at least 0, got nan: try 0.1"),
        ("batch_size", 0, "batch_size must be at least 1, got 0"),
        ("pace", 0, "pace must be a finite number above 0 or None, got 0"),
        ("pace", "fast", "pace must be a number of steps a second or None, got 'fast'"),
    ],
)
def test_wrong_settings_are_refused_and_change_nothing(setting, value, message):
    model, g = new_model()
    with TrainSession(model, X, Y, g=g, pace=50) as session:
        before = session.lr, session.batch_size, session.pace
        with pytest.raises((TypeError, ValueError)) as caught:
            setattr(session, setting, value)
        assert str(caught.value) == message
        assert (session.lr, session.batch_size, session.pace) == before
    with pytest.raises((TypeError, ValueError)) as caught:
        TrainSession(model, X, Y, g=g, **{setting: value})
    assert str(caught.value) == message


def interrupt_soon():
    """What a press on "interrupt the kernel" does, in a moment; it wakes nobody who waits without a timeout."""
    threading.Timer(0.3, _thread.interrupt_main).start()


@each_stepper
def test_an_interrupt_ends_the_steps_under_way_and_leaves_no_worker(stepper):
    model, g = new_model()
    with TrainSession(model, X, Y, g=g, stepper=stepper, pace=50) as session:
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            session.step(200)
        assert workers() == []
        assert session.status == "paused"
        taken = len(session.history)
        assert 0 < taken < 200
        session.step(3)
        assert_as_trained(session, [(taken + 3, 0.1, 32)], stepper)


def test_an_interrupt_ends_the_waiting_and_not_the_run():
    model, g = new_model()
    with TrainSession(model, X, Y, g=g, pace=50, steps=200) as session:
        session.start()
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            session.wait()
        assert session.running
        session.start()  # it runs already
        assert len(workers()) == 1
        session.pause()
        assert_as_trained(session, [(len(session.history), 0.1, 32)], train_steps)


def test_an_interrupted_pause_pauses_all_the_same():
    model, g = new_model()
    inside, go_on = threading.Event(), threading.Event()

    def slow(*data, **how):
        for step in train_steps(*data, **how):
            inside.set()
            go_on.wait(10)
            yield step

    with TrainSession(model, X, Y, g=g, stepper=slow) as session:
        session.start()
        assert inside.wait(10)
        interrupt_soon()
        with pytest.raises(KeyboardInterrupt):
            session.pause()
        assert session.running  # its step is under way
        go_on.set()
        session.step(5)  # first it waits for that one
        assert_as_trained(session, [(6, 0.1, 32)], train_steps)


def test_where_no_thread_is_to_be_had_nobody_waits_for_it(monkeypatch):
    model, g = new_model()

    def start(self):
        raise RuntimeError("can't start new thread")

    with TrainSession(model, X, Y, g=g) as session:
        with monkeypatch.context() as system:
            system.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                session.start()
        assert session.status == "ready"
        session.step()
        assert session.status == "paused"


def test_a_stepper_may_be_a_plain_iterator():
    model, g = new_model()

    def stepper(*data, **how):
        return iter(list(train_steps(*data, **how)))  # it has no close()

    with TrainSession(model, X, Y, g=g, stepper=stepper) as session:
        session.step(4)
        assert session.error is None
        assert_as_trained(session, [(4, 0.1, 32)], train_steps)


def hammer(seconds, stepper, seed):
    """Commands at random from several threads; at any moment one worker, and in the end the run that `train` makes."""
    model, g = new_model()
    session = TrainSession(model, X, Y, g=g, stepper=stepper, steps=10**9)
    end = time.perf_counter() + seconds
    failures, most = [], [0]

    def watch():
        while time.perf_counter() < end:
            most[0] = max(most[0], len(workers()))
            time.sleep(0.0005)

    def click(dice):
        commands = [session.start, session.pause, session.step, session.reset]
        commands += [lambda: setattr(session, "lr", dice.choice((0.1, 0.05, 0.02)))]
        commands += [lambda: setattr(session, "pace", dice.choice((None, 200.0)))]
        while time.perf_counter() < end:
            try:
                dice.choice(commands)()
            except Exception as error:
                failures.append(error)
            time.sleep(dice.random() * 0.02)

    threads = [threading.Thread(target=click, args=(random.Random(seed + k),)) for k in range(4)]
    threads.append(threading.Thread(target=watch))
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    session.pause()
    assert failures == []
    assert most[0] == 1
    assert session.error is None
    session.step()
    assert_as_trained(session, segments_of(session, [32] * len(session.history)), stepper)
    session.close()


@each_stepper
def test_random_commands_from_several_threads_leave_a_consistent_state(stepper):
    hammer(0.6, stepper, seed=1)


@pytest.mark.torture
@each_stepper
def test_random_commands_for_thirty_seconds(stepper):
    hammer(30, stepper, seed=2)


def test_a_command_by_the_one_who_looks_is_refused_while_another_waits():
    model, g = new_model()
    looking, went_on = threading.Event(), threading.Event()

    def look(session):
        looking.set()
        went_on.wait(10)
        session.pause()

    session = TrainSession(model, X, Y, g=g, on_look=look)
    session.start()
    assert looking.wait(10)
    other = threading.Thread(target=session.pause, daemon=True)
    other.start()
    until(session._stop.is_set)  # it holds the lock, and waits for the worker
    went_on.set()
    other.join(10)
    assert not other.is_alive(), "the two wait for each other"
    assert "give it no command" in str(session.error)
    session.close()
