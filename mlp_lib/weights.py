"""A trained network on disk: its five tensors and its vocabulary in one safetensors file.

    save_model(model, "names.safetensors", vocab=vocab)
    model, vocab = load_model("names.safetensors")

Taught in: page 11.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mlp_lib.checks import checked
from mlp_lib.data import Vocab
from mlp_lib.files import write_atomically
from mlp_lib.model import MLP


@checked
def save_model(model: MLP, path: str | Path, *, vocab: Vocab) -> Path:
    """Write `model` and `vocab` to `path` and return it; a file of that name is replaced, in one move.

    The file holds numbers and text only, so that opening a stranger's runs no code.
    """
    tensors = {name: t.contiguous() for name, t in model.state_dict().items()}
    path = Path(path).expanduser()
    write_atomically(path, save(tensors, metadata={"symbols": "".join(vocab.stoi)[1:]}))
    return path


def load_model(path: str | Path) -> tuple[MLP, Vocab]:
    """The model and the vocabulary that `save_model` wrote.

    Raises FileNotFoundError for a missing file and ValueError for one that `save_model` did not write.
    """
    path = Path(path).expanduser()
    try:
        with safe_open(path, framework="pt") as file:
            # clones, because the tensors of the file are views of it, which keep it open
            model = MLP.from_tensors(**{name: file.get_tensor(name).clone() for name in file.keys()})  # noqa: SIM118
            vocab = Vocab((file.metadata() or {})["symbols"])
        if len(vocab) != model.config.vocab_size:
            raise ValueError(f"{len(vocab)} symbols for {model.config.vocab_size} rows of C")
        return model, vocab
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise ValueError(f"{path} is not a model that save_model wrote ({type(error).__name__}): {error}") from None
