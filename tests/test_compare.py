"""The lines that pages print beside their numbers."""

import pytest

from mlp_lib.course.compare import best_seconds, guessed, same_as_video


@pytest.mark.parametrize(
    ("value", "figure", "line"),
    [
        (17.76971, 17.7697, "x: 17.7697, as in the video"),
        (17.7696, 17.7697, "x: 17.7696 (video: 17.7697)"),
        (17.76975001, 17.7697, "x: 17.7698 (video: 17.7697)"),
        (11_897, 11_897, "x: 11,897, as in the video"),
        (183_430, 182_625, "x: 183,430 (video: 182,625)"),
        (2.17, 2.1, "x: 2.2 (video: 2.1)"),
        (float("nan"), 2.17, "x: nan (video: 2.17)"),
    ],
)
def test_same_as_video_compares_in_the_digits_of_the_figure(value, figure, line, capsys):
    same_as_video("x", value, figure)
    assert capsys.readouterr().out == f"{line}\n"


def test_guessed_accepts_text_numbers_and_no_guess(capsys):
    guessed(..., 12_345)
    guessed("higher", "lower")
    assert capsys.readouterr().out == "No guess noted. It is 12,345.\nYou guessed higher. It is lower.\n"


def test_best_seconds_calls_setup_before_each_run():
    calls = []
    best_seconds(lambda: calls.append("run"), repeats=2, setup=lambda: calls.append("setup"))
    assert calls == ["setup", "run", "setup", "run"]
