"""The character-level MLP language model of "Building makemore Part 2: MLP", after Bengio et al. 2003.

Reading order: `data`, `model`, `train`, `sample`, then the rest. Every function names the notebook that teaches it.
"""

from mlp_lib.data import Splits, Vocab, build_dataset, load_words, make_splits, split_words
from mlp_lib.model import MLP, MLPConfig, Trace
from mlp_lib.sample import next_char_probs, sample_words
from mlp_lib.train import History, Step, eval_loss, train, train_steps

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
    "load_words",
    "make_splits",
    "next_char_probs",
    "sample_words",
    "split_words",
    "train",
    "train_steps",
]
