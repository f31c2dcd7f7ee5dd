"""Pictures of detections, one model beside the other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mmcv
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData

from sortkd_det.adapters.objects import boxes_of
from sortkd_det.figures import save_figure

_DPI = 100
_GAP = 0.02  # between pictures, as a share of their width
_FONT_SIZE = 14
_LINE_WIDTH = 3


class _Visualizer(DetLocalVisualizer):
    """Writes all names in one size; MMDetection's shrinks those of small boxes."""

    def draw_texts(self, texts: Any, positions: Any, **style: Any) -> DetLocalVisualizer:
        style['font_sizes'] = _FONT_SIZE
        return super().draw_texts(texts, positions, **style)


def draw_panels(
    columns: Mapping[str, Sequence[DetDataSample]],
    dataset_meta: Mapping[str, Any],
    path: str | Path,
    scale: int = 3,
    score_threshold: float = 0.3,
) -> None:
    """Draw ground truth and the detections of several models, an image per row.

    Args:
        columns: model → its predictions on the same images, in the same order;
            samples with ``img_path`` and ``gt_instances`` and ``pred_instances`` in pixels of
            the file. A column of ground truth, read from the first model's samples,
            stands before them.
        dataset_meta: ``classes``, their names.
        path: the PNG that is written.
        scale: a pixel of an image becomes scale × scale pixels, > 0.
        score_threshold: detections below it, in [0, 1], are left out.

    Raises:
        ValueError: no images, or another number of them per model.
    """
    counts = {len(samples) for samples in columns.values()}
    if len(counts) != 1 or 0 in counts:
        raise ValueError(f'every model needs the same images, got {sorted(counts)} of them')
    classes = dataset_meta['classes']
    colours = colormaps['hsv'](np.arange(len(classes)) / len(classes))[:, :3]
    visualizer = _Visualizer(
        name='panels', line_width=_LINE_WIDTH, text_color=(255, 255, 255), alpha=1.0
    )
    visualizer.dataset_meta = dict(
        classes=classes, palette=[tuple(map(int, colour)) for colour in 255 * colours]
    )
    first = next(iter(columns.values()))
    pictures = [('ground truth', [_draw(visualizer, s, scale, None) for s in first])]
    for title, samples in columns.items():
        pictures.append(
            (title, [_draw(visualizer, sample, scale, score_threshold) for sample in samples])
        )
    _assemble(pictures, [Path(sample.img_path).name for sample in first], score_threshold, path)


def _draw(
    visualizer: DetLocalVisualizer, sample: DetDataSample, scale: int, threshold: float | None
) -> np.ndarray:
    """One picture, RGB: the ground truth, or with a threshold the detections above it."""
    image = mmcv.imread(sample.img_path, channel_order='rgb')
    image = mmcv.imrescale(image, float(scale), interpolation='nearest')
    kind = 'gt_instances' if threshold is None else 'pred_instances'
    enlarged = DetDataSample(**{kind: _enlarge(sample.get(kind), scale, image.shape[:2])})
    visualizer.add_datasample(
        'panel',
        image,
        enlarged,
        draw_gt=threshold is None,
        draw_pred=threshold is not None,
        pred_score_thr=threshold or 0.0,
    )
    return visualizer.get_image()


def _enlarge(instances: InstanceData, scale: int, shape: tuple[int, int]) -> InstanceData:
    """A copy with boxes as plain tensors, times ``scale``, within ``shape`` (height, width)."""
    if 'scores' in instances:
        instances = instances[instances.scores.argsort()]  # the surest name lies on top
    boxes = boxes_of(instances).cpu() * scale
    height, width = shape
    edges = torch.tensor([width, height, width, height]) - 1
    fields = dict(bboxes=boxes.clamp(min=0).minimum(edges), labels=instances.labels.cpu())
    if 'scores' in instances:
        fields['scores'] = instances.scores.cpu()
    return InstanceData(**fields)


def _assemble(
    pictures: Sequence[tuple[str, Sequence[np.ndarray]]],
    names: Sequence[str],
    threshold: float,
    path: str | Path,
) -> None:
    height, width = np.max([picture.shape[:2] for picture in pictures[0][1]], axis=0)
    rows, columns = len(names), len(pictures)
    size = (columns * width * (1 + _GAP) / _DPI, (rows * height * (1 + _GAP) + 110) / _DPI)
    figure = Figure(figsize=size, dpi=_DPI, layout='constrained')
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=_GAP / 2, hspace=_GAP / 2)
    grid = figure.subplots(rows, columns, squeeze=False)
    for column, (title, images) in enumerate(pictures):
        for row, image in enumerate(images):
            axes = grid[row, column]
            axes.imshow(image)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            if row == 0:
                axes.set_title(title, fontsize=22)
            if column == 0:
                axes.set_ylabel(names[row], fontsize=18)
    figure.suptitle(f'detections with a score above {100 * threshold:.0f} %', fontsize=20)
    save_figure(figure, path)
