"""Learning curves of several runs, side by side."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sortkd_det.figures import save_figure

from .scalars import RunScalars

#: Okabe and Ito's colours, told apart by colour-blind eyes too; grey for the first run.
COLOURS = ('#7f7f7f', '#0072b2', '#e69f00', '#d55e00', '#009e73', '#cc79a7')
_MARKERS = 'sovD^P'
#: Of a training: name → what it is.
LOSSES = {
    'loss_cls': "the head's own classification loss",
    'loss_distill': 'distillation loss (of unlike targets:\ncompare shapes, not heights)',
}


def draw_learning_curves(
    runs: Mapping[str, RunScalars], path: str | Path, metric: str = 'coco/bbox_mAP'
) -> None:
    """Draw validation AP over epochs and the training losses over iterations.

    Args:
        runs: title → what the run logged, in the order of the legend; an entry
            without scalars draws no line.
        path: the PNG that is written, 1800 × 600 pixels.
        metric: the validation metric, in [0, 1]; drawn as AP in [0, 100].
    """
    figure = Figure(figsize=(15, 5), dpi=120, layout='constrained')
    accuracy, *losses = figure.subplots(1, 1 + len(LOSSES))
    styles = {
        title: dict(color=COLOURS[index % len(COLOURS)], label=title)
        for index, title in enumerate(runs)
    }
    for index, (title, scalars) in enumerate(runs.items()):
        epochs, values = scalars.series(metric)
        marker = _MARKERS[index % len(_MARKERS)]
        accuracy.plot(
            epochs, [100 * v for v in values], marker=marker, markersize=5, **styles[title]
        )
    _finish(accuracy, 'validation AP', 'epoch', 'COCO AP (IoU .50:.95), 0 … 100')
    for axes, (name, caption) in zip(losses, LOSSES.items(), strict=True):
        for title, scalars in runs.items():
            iterations, values = scalars.series(name)
            if iterations:
                axes.plot(iterations, values, marker='.', linewidth=1.2, **styles[title])
        _finish(axes, caption, 'iteration', f'{name}, mean over the log interval')
    save_figure(figure, path)


def _finish(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_xlim(left=0)
    highest = max((max(line.get_ydata(), default=0.0) for line in axes.lines), default=0.0)
    axes.set_ylim(0, 1.08 * highest or 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.grid(alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, 'nothing logged', ha='center', va='center', transform=axes.transAxes)
