"""The character-level MLP language model of "Building makemore Part 2: MLP", after Bengio et al. 2003.

Reading order: `data`, `model`, `train`, `sample`, `sweep`, `plots`; then `words` (reading a list) and `weights`
(keeping a model). `checks` has the error messages for invalid arguments. `mlp_lib.lab` goes beyond the lecture, and
`mlp_lib.course` turns both into a course; the files here import neither.
"""

import sys

try:
    if sys.version_info < (3, 11):  # noqa: UP036 - a checkout can be run without being installed
        raise ImportError("mlp_lib needs Python 3.11 or newer, this is " + sys.version.split()[0])
    from mlp_lib.data import Splits, Vocab, build_dataset, make_splits, split_words
    from mlp_lib.model import MLP, MLPConfig, Trace
    from mlp_lib.sample import next_char_probs, sample_words
    from mlp_lib.train import History, Step, eval_loss, train, train_steps
    from mlp_lib.weights import load_model, save_model
    from mlp_lib.words import load_words
except Exception as error:
    # `python -m mlp_lib`, which tells people that torch is missing or broken, runs this file first, so it must not fail
    # for that reason, and a broken package can raise anything. The error is kept and raised when a name that needs it
    # is first used. (Not the usual lazy import through __getattr__: the module mlp_lib.train would then hide the
    # function of the same name.)
    _error = error

    def __getattr__(name: str) -> object:
        if name in __all__:
            raise ImportError(
                f"mlp_lib.{name} cannot be used here: {_error}. Run `python -m mlp_lib`: it says what to install"
            ) from _error
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__version__ = "0.1.0"

__all__ = [
    "MLP",
    "History",
    "MLPConfig",
    "Splits",
    "Step",
    "Trace",
    "Vocab",
    "build_dataset",
    "eval_loss",
    "load_model",
    "load_words",
    "make_splits",
    "next_char_probs",
    "sample_words",
    "save_model",
    "split_words",
    "train",
    "train_steps",
]
