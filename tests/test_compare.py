"""What notebooks say of their own numbers: fixed lines at the video's settings, never an error elsewhere."""

import pytest

from mlp_lib.course.compare import SameAsVideo, best_seconds, guessed


def at(now=100, words_file=None):
    return SameAsVideo(video={"n_hidden": 100}, now={"n_hidden": now}, words_file=words_file)


def test_at_the_videos_settings(capsys):
    at()("loss", 17.76974, 17.7697, atol=5e-5)
    assert capsys.readouterr().out == "[ok] loss: 17.7697, as in the video\n"
    with pytest.raises(AssertionError, match=r"loss is 17\.7699, expected 17\.7697 within 5e-05"):
        at()("loss", 17.7699, 17.7697, atol=5e-5)


def test_very_small_numbers_keep_their_digits(capsys):
    at(now=300)("difference", 2.4e-5, 1e-5)
    assert capsys.readouterr().out == (
        "[--] difference: 0.00002 (video: 1e-05); you changed n_hidden from 100 to 300\n"
    )


def test_a_number_of_the_whole_list(capsys):
    at()("examples", 229_201, 228_146, bundled=229_201)
    assert capsys.readouterr().out == "[ok] examples: 229,201 here, 228,146 in the video (145 fewer names)\n"
    at(words_file="lecture")("examples", 228_146, 228_146, bundled=229_201)
    assert capsys.readouterr().out == "[ok] examples: 228,146, as in the video\n"
    with pytest.raises(AssertionError, match="examples is 229201, expected 228146"):
        at(words_file="lecture")("examples", 229_201, 228_146, bundled=229_201)


def test_changed_settings_are_named_and_never_fail(capsys):
    at(now=300)("loss", 30.12, 17.7697)
    assert capsys.readouterr().out == "[--] loss: 30.1200 (video: 17.7697); you changed n_hidden from 100 to 300\n"
    at(words_file="mine.txt")("examples", 12, 228_146, bundled=229_201)
    assert capsys.readouterr().out == "[--] examples: 12 (video: 228,146); you changed the word list to mine.txt\n"
    assert at(now=300).settings_changed
    assert not at(words_file="lecture").settings_changed


def test_a_band_may_be_another_on_the_lectures_file(capsys):
    at(words_file="lecture").band("loss", 2.22, 2.23, 2.27, lecture=(2.21, 2.25))
    at().band("loss", 2.26, 2.23, 2.27, lecture=(2.21, 2.25))
    assert capsys.readouterr().out == "[ok] loss: between 2.21 and 2.25\n[ok] loss: between 2.23 and 2.27\n"
    with pytest.raises(AssertionError, match=r"outside 2\.21 to 2\.25"):
        at(words_file="lecture").band("loss", 2.26, 2.23, 2.27, lecture=(2.21, 2.25))
    with pytest.raises(AssertionError, match=r"outside 2\.23 to 2\.27"):
        at().band("loss", 2.22, 2.23, 2.27, lecture=(2.21, 2.25))


def test_bands(capsys):
    at().band("dev loss", 2.17, 2.15, 2.19)
    assert capsys.readouterr().out == "[ok] dev loss: between 2.15 and 2.19\n"
    with pytest.raises(AssertionError, match=r"dev loss is 2\.3, outside 2\.15 to 2\.19"):
        at().band("dev loss", 2.3, 2.15, 2.19)
    with pytest.raises(AssertionError, match="dev loss is nan, outside"):
        at().band("dev loss", float("nan"), 2.15, 2.19)
    at(now=7).band("dev loss", 2.3, 2.15, 2.19)
    assert capsys.readouterr().out == (
        "[--] dev loss: 2.3000 (at the video's settings 2.15 to 2.19); you changed n_hidden from 100 to 7\n"
    )


def test_guesses(capsys):
    for guess in (None, ...):
        guessed(guess, 0.2515)
    guessed("zero", "0.2515", unit="nats")
    assert capsys.readouterr().out == (
        "No guess noted. It is 0.2515.\nNo guess noted. It is 0.2515.\nYou guessed zero nats. It is 0.2515 nats.\n"
    )


def test_best_seconds_takes_the_shortest_and_sets_up_each_time():
    import time

    waits, setups = [0.02, 0.001, 0.02], []
    best = best_seconds(lambda: time.sleep(waits.pop()), repeats=3, setup=lambda: setups.append(1))
    assert 0.001 <= best < 0.02
    assert len(setups) == 3
