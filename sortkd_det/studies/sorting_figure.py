"""One sample's teacher distribution before and after sorting."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor

from sortkd_det.figures import save_figure
from sortkd_det.functional import sort_logits

from .changed_rows import probabilities_of

_LABEL, _MOVED, _SAME = '#d55e00', '#0072b2', '#c4c4c4'
_CONTEXT = 0.6  # how much of a box's size the crop shows on each side of it


def draw_sorting(
    logits: Tensor,
    label: int,
    classes: Sequence[str],
    path: str | Path,
    image: np.ndarray | None = None,
    box: Sequence[float] | None = None,
    truth: Sequence[float] | None = None,
    caption: str = '',
    activation: str = 'softmax',
) -> None:
    """Draw the probabilities of a row of teacher logits before and after :func:`sort_logits`.

    Classes stand in the teacher's own order in both halves, so that a bar that
    differs is a class that sorting moved.

    Args:
        logits: (C,), floating.
        label: the sample's true class, in [0, C).
        classes: C names.
        path: the PNG that is written, 1440 × 720 pixels.
        image: (H, W, 3) RGB, uint8; None: no crop is shown.
        box: x1, y1, x2, y2 of the sample in ``image``, in pixels.
        truth: the same of its ground-truth box.
        caption: a line about the sample.
        activation: what the head makes of its logits, ``'softmax'`` or ``'sigmoid'``.

    Raises:
        ValueError: the numbers of names and of classes differ, or a label is out of
            range.
    """
    if len(classes) != len(logits):
        raise ValueError(f'{len(logits)} logits need as many class names, got {len(classes)}')
    row = logits.detach().float().cpu()[None]
    after = sort_logits(row, torch.tensor([label]))[0]
    before = row[0]
    order = before.argsort(descending=True, stable=True)
    moved = set(torch.nonzero(before != after).flatten().tolist())
    colours = [_LABEL if c == label else _MOVED if c in moved else _SAME for c in order.tolist()]

    figure = Figure(figsize=(12, 6), dpi=120, layout='constrained')
    grid = figure.add_gridspec(2, 2 if image is not None else 1, width_ratios=None)
    if image is not None:
        grid.set_width_ratios([1, 2])
        _draw_crop(figure.add_subplot(grid[:, 0]), image, box, truth)
    upper = figure.add_subplot(grid[0, -1])
    lower = figure.add_subplot(grid[1, -1], sharex=upper, sharey=upper)
    percents = 100 * probabilities_of(torch.stack([before, after]), activation)[:, order].numpy()
    names = [classes[c] for c in order.tolist()]
    rank = order.tolist().index(label) + 1
    _draw_bars(upper, percents[0], names, colours)
    upper.set_title(
        f'teacher: "{classes[label]}", the label, stands at rank {rank}', loc='left', fontsize=11
    )
    _draw_bars(lower, percents[1], names, colours)
    lower.set_title('the same values, sorted: what the student is taught', loc='left', fontsize=11)
    upper.tick_params(labelbottom=False)
    lower.tick_params(axis='x', labelrotation=35)
    for text in lower.get_xticklabels():
        text.set(ha='right', rotation_mode='anchor')
    lower.set_xlabel("class, in the teacher's order")
    upper.set_ylim(0, 1.4 * percents.max())  # room for the legend
    upper.legend(
        handles=[
            Patch(color=_LABEL, label=f'label: "{classes[label]}"'),
            Patch(color=_MOVED, label='moved down by one value'),
            Patch(color=_SAME, label='unchanged'),
        ],
        frameon=False,
        loc='upper right',
        ncols=3,
    )
    figure.suptitle(
        'SortKD on one sample that lies on an object' + (f' ({caption})' if caption else ''),
        fontsize=13,
    )
    save_figure(figure, path)


def _draw_bars(axes: Axes, heights: np.ndarray, names: list[str], colours: list[str]) -> None:
    bars = axes.bar(range(len(names)), heights, color=colours, width=0.75)
    axes.bar_label(bars, [f'{h:.1f}' if h >= 0.05 else '' for h in heights], fontsize=8)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel('probability in %')
    axes.spines[['top', 'right']].set_visible(False)


def _draw_crop(
    axes: Axes, image: np.ndarray, box: Sequence[float] | None, truth: Sequence[float] | None
) -> None:
    axes.imshow(image, interpolation='nearest')
    axes.set_title('the sample in its image', loc='left', fontsize=11)
    axes.set_axis_off()
    frames = [(truth, '#00e05a', '-', 'ground truth'), (box, 'white', '--', 'sample')]
    for corners, colour, style, name in frames:
        if corners is not None:
            x1, y1, x2, y2 = map(float, corners)
            axes.add_patch(
                Rectangle(
                    (x1 - 0.5, y1 - 0.5),
                    x2 - x1,
                    y2 - y1,
                    fill=False,
                    edgecolor=colour,
                    linestyle=style,
                    linewidth=2.5,
                    label=name,
                )
            )
    if box is not None:
        x1, y1, x2, y2 = map(float, box)
        reach = _CONTEXT * max(x2 - x1, y2 - y1, 8.0)
        height, width = image.shape[:2]
        axes.set_xlim(max(x1 - reach, 0) - 0.5, min(x2 + reach, width) - 0.5)
        axes.set_ylim(min(y2 + reach, height) - 0.5, max(y1 - reach, 0) - 0.5)
        axes.legend(loc='upper center', bbox_to_anchor=(0.5, -0.02), ncols=2, facecolor='#999999')
