"""A confusion matrix as a picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from sortkd_det.figures import save_figure

_MOST_NUMBERS = 20  # classes up to which the cells carry their numbers


def draw_confusion(counts: np.ndarray, names: Sequence[str], path: Path) -> Path:
    """Draw a confusion matrix.

    Args:
        counts: (C, C) whole numbers: rows are labels, columns predictions.
        names: C names.
        path: of the PNG; its folder is made.

    Returns:
        ``path``.
    """
    shares = 100 * counts / counts.sum(1, keepdims=True).clip(min=1)
    side = float(np.clip(0.45 * len(names) + 2, 5, 20))
    figure = Figure(figsize=(side, side), layout='constrained')
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap='Blues', vmin=0, vmax=100)
    figure.colorbar(picture, ax=axes, label='% of the label', shrink=0.8)
    if len(names) <= _MOST_NUMBERS:
        for label, row in enumerate(shares):
            for prediction, share in enumerate(row):
                colour = 'white' if share > 50 else 'black'
                axes.text(prediction, label, f'{share:.0f}', ha='center', va='center', color=colour)
    as_text = dict(fontsize='small', parse_math=False)  # which may hold a $
    axes.set_xticks(range(len(names)), names, rotation=90, **as_text)
    axes.set_yticks(range(len(names)), names, **as_text)
    axes.set_xlabel('prediction')
    axes.set_ylabel('label')
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path, dpi=110)
    return path
