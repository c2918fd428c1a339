"""Panels: an idea of the lecture under sliders and buttons. One module a panel, and `base` under all of them.

| panel | notebook | what moves |
|---|---|---|
| `board_panel()` | 00 | the exercises solved so far: refresh, forget, one notebook's titles |
| `network_panel(model, vocab, words)` | 00 | the contexts of a word through lookup, hidden layer and output |
| `softmax_panel()` | 03 | logits to probabilities to loss, and where the longhand overflows |
| `train_panel(model, X, Y, g=g)` | 04, 11 | a training run: start, pause, one step, reset; learning rate, batch size |
| `gradient_noise_panel(models, X, Y)` | 05 | the batch size: cosine to the full gradient, time of a step |
| `sweep_panel(model, X, Y, g=g)` | 06 | range, steps, smoothing and number of sweeps; training with the rate read off |
| `sizes_panel(config, Xtr, Ytr, Xdev, Ydev)` | 07, 08, 10 | sizes, steps, words, against train and dev loss |
| `embedding_panel(maps, vocab)` | 09 | the moment of the training, the character picked, the frame |
| `sampling_panel(model, vocab, words=words)` | 12 | prefix, temperature and seed of the sampling loop |
| `init_panel(X, Y, config, seed=seed)` | 14 | output and hidden scale, against first loss and saturation |

How to add a panel
------------------
Write `mlp_lib/course/panels/NAME.py` with one function `NAME_panel(data, ...) -> PlotPanel`. Data and seeds come in as
arguments; nothing global. Three things make a panel:

    def sine_panel() -> PlotPanel:
        '''A sine wave whose frequency is under your hand.'''

        def draw(figure: Figure, frequency: float) -> str:
            x = np.linspace(0, 1, 200)
            figure.add_subplot().plot(x, np.sin(frequency * x))
            return f"frequency {frequency:.1f}: {frequency / 6.28:.1f} waves"

        return PlotPanel("sine_panel", draw, {"frequency": slider("frequency", 6.0, 1, 30, 0.5)}, alt="A sine wave.")

1. The controls, by name, made with the helpers of `base` (`slider`, `whole_slider`, `log_slider`, `choice`,
   `choice_slider`, `text`, `number`), so that each has a description and answers the keyboard.
   `buttons={"start": function}` adds buttons.
2. `draw(figure, **values)`: gets an empty `matplotlib.figure.Figure` and the controls' values under their names, draws,
   and returns the readout, one line of text with the numbers. A ValueError, which is how the library answers bad
   input, is shown as its sentence in the panel, and the last picture stays. So hand text that a reader typed straight
   to the library, and into a picture only with `parse_math=False`.
3. `alt`: what the picture shows, for those who do not see it.

Give controls `continuous=False` where a redraw takes over 50 ms, and the panel `slow="what it is doing ..."` where it
takes over 100 ms. A thread (`live.TrainSession`) is closed by `on_close=session.close`. Then export the function here,
name it in the table above, and add the three tests: `tests/test_widgets.py` (headless, on the data drawn),
`tests/test_widgets_kernel.py`, and `tests/browser/` (each control moved by key or mouse); each has a list at its top.
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
