"""Panels: an idea of the lecture with sliders and buttons. One module per panel, built on `base` and `worker`.

| panel | notebook | what you control |
|---|---|---|
| `board_panel()` | 00 | the exercises solved so far: refresh, forget, one notebook's titles |
| `network_panel(model, vocab, words)` | 00 | a word and one of its contexts: lookup, hidden layer and output |
| `softmax_panel()` | 03 | logits to probabilities to loss, and where the longhand overflows |
| `train_panel(model, X, Y, g=g)` | 04, 11 | a training run: start, pause, one step, reset; learning rate, batch size |
| `gradient_noise_panel(models, X, Y)` | 05 | the batch size: cosine to the full gradient, time of a step |
| `sweep_panel(model, X, Y, g=g, result=result)` | 06 | range, steps, sweeps and smoothing; training at the rate |
| `sizes_panel(config, Xtr, Ytr, Xdev, Ydev)` | 07, 08, 10 | sizes, steps and words: train and dev loss |
| `embedding_panel(maps, vocab)` | 09 | the number of updates, a character, the frame of the map |
| `sampling_panel(model, vocab, words=words)` | 12 | prefix, temperature and seed of the sampling loop |
| `init_panel(X, Y, config, seed=seed)` | 14 | output and hidden scale: first loss and saturation |

To add a panel, write `mlp_lib/course/panels/NAME.py` with a function such as this one:

    def sine_panel() -> PlotPanel:
        '''A sine wave whose frequency you choose.'''

        def draw(figure: Figure, frequency: float) -> str:
            x = np.linspace(0, 1, 200)
            figure.add_subplot().plot(x, np.sin(frequency * x))
            return f"frequency {frequency:.1f}: {frequency / 6.28:.1f} waves"

        return PlotPanel("sine_panel", draw, {"frequency": slider("frequency", 6.0, 1, 30, 0.5)}, alt="A sine wave.")

1. Make the controls with the helpers of `base`, which give each a label; use `continuous=False` if a redraw takes over
   50 ms. `buttons={"start": function}` adds buttons.
2. `draw` gets an empty Figure and the controls' values, draws, and returns the readout: one line with the numbers. The
   message of a ValueError is shown and the last picture stays, so you can pass a reader's text straight to the library.
   Draw such text only with `parse_math=False`.
3. `alt` describes the picture for readers who cannot see it.
4. Run anything that takes more than a moment in a `worker.Worker`.

Then export the function here, add it to the table above and to the lists in `tests/test_panels.py` and
`tests/browser/`.
"""

from mlp_lib.course.panels.base import PlotPanel
from mlp_lib.course.panels.board import board_panel
from mlp_lib.course.panels.embedding import embedding_panel
from mlp_lib.course.panels.gradient_noise import gradient_noise_panel
from mlp_lib.course.panels.initialization import init_panel
from mlp_lib.course.panels.network import network_panel
from mlp_lib.course.panels.sampling import sampling_panel
from mlp_lib.course.panels.sizes import sizes_panel
from mlp_lib.course.panels.softmax import softmax_panel
from mlp_lib.course.panels.sweep import sweep_panel
from mlp_lib.course.panels.training import train_panel

__all__ = [
    "PlotPanel",
    "board_panel",
    "embedding_panel",
    "gradient_noise_panel",
    "init_panel",
    "network_panel",
    "sampling_panel",
    "sizes_panel",
    "softmax_panel",
    "sweep_panel",
    "train_panel",
]
