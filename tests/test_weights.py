"""A model on disk: what is loaded, and what is refused. (`test_properties.py` tries random models and damage.)"""

import os

import pytest
import torch
from safetensors.torch import save_file

from mlp_lib import MLP, MLPConfig, Vocab, load_model, sample_words, save_model

VOCAB = Vocab("αβ𝄞")
MODEL = MLP(MLPConfig(len(VOCAB), 2, 3, 5), g=torch.Generator().manual_seed(1))


def test_saved_model_and_vocabulary_are_loaded(tmp_path, monkeypatch):
    path = save_model(MODEL, tmp_path / "new" / "greek.safetensors", vocab=VOCAB)
    model, vocab = load_model(str(path))
    assert vocab == VOCAB
    assert model.config == MODEL.config
    assert all(map(torch.equal, model.state_dict().values(), MODEL.state_dict().values()))
    assert all(p.requires_grad for p in model.parameters())
    assert sample_words(model, vocab, n=3, max_len=1000, g=torch.Generator()) == sample_words(
        MODEL, VOCAB, n=3, max_len=1000, g=torch.Generator()
    )
    monkeypatch.setenv("HOME", str(tmp_path / "new"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "new"))
    assert load_model("~/greek.safetensors")[1] == VOCAB


def test_loaded_model_does_not_use_its_file(tmp_path):
    """It can be trained and saved to the same file, even on Windows, where an open file cannot be replaced."""
    path = save_model(MODEL, tmp_path / "model", vocab=VOCAB)
    before = path.read_bytes()
    model, vocab = load_model(path)
    if os.path.exists("/proc/self/maps"):
        with open("/proc/self/maps") as maps:
            assert str(path) not in maps.read()
    model.C.data.zero_()
    assert path.read_bytes() == before
    save_model(model, path, vocab=vocab)
    assert not load_model(path)[0].C.any()


def others(folder):
    """Paths of files that `save_model` did not write."""
    tensors, symbols = MODEL.state_dict(), {"symbols": "αβ𝄞"}
    (folder / "text").write_text("emma\nolivia\n")
    (folder / "empty").write_bytes(b"")
    (folder / "folder").mkdir()
    torch.save(tensors, folder / "torch.pt")
    save_file(tensors, folder / "no vocabulary")
    save_file({**tensors, "b3": torch.zeros(3)}, folder / "one more", metadata=symbols)
    save_file({k: t for k, t in tensors.items() if k != "C"}, folder / "one less", metadata=symbols)
    save_file({**tensors, "C": torch.zeros(4)}, folder / "a flat table", metadata=symbols)
    save_file({**tensors, "W2": torch.zeros(5, 3)}, folder / "other sizes", metadata=symbols)
    save_file({k: t.long() for k, t in tensors.items()}, folder / "integers", metadata=symbols)
    save_file(tensors, folder / "fewer symbols", metadata={"symbols": "αβ"})
    save_file(tensors, folder / "a symbol twice", metadata={"symbols": "αβα"})
    return list(folder.iterdir())


def test_other_files_raise_ValueError_in_one_line(tmp_path):
    files = others(tmp_path)
    assert len(files) == 12
    for path in files:
        with pytest.raises(ValueError) as caught:
            load_model(path)
        assert str(caught.value).startswith(f"{path} is not a model that save_model wrote ("), path
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="missing"):
        load_model(tmp_path / "missing")
