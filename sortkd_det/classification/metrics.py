"""Accuracy of classifiers: top-1, top-5, per class, and who is taken for whom."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger

from sortkd_det.functional import check_whole
from sortkd_det.registry import METRICS

from .confusion import draw_confusion


@METRICS.register_module()
class Accuracy(BaseMetric):
    """Share of images, in %, whose label is among the first k classes.

    Args:
        topk: the k's, or one k.
        per_class: log the top-1 of each class too.
        confusion: draw the confusion matrix to this path (PNG); None: do not.
        collect_device: as in MMEngine.
        prefix: of the names in the log.

    Raises:
        TypeError, ValueError: a k that is no whole number ≥ 1.
    """

    default_prefix = 'accuracy'

    def __init__(
        self,
        topk: Sequence[int] | int = (1, 5),
        per_class: bool = False,
        confusion: str | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device, prefix)
        self.topk = [check_whole('topk', k) for k in ([topk] if isinstance(topk, int) else topk)]
        self.per_class = per_class
        self.confusion = confusion

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Note index, label, prediction and the label's rank of each image of a batch."""
        for sample in data_samples:
            logits, labels = sample['logits'].float(), sample['labels']
            own = logits.gather(1, labels[:, None])
            # What is no number is above every label, so that a run that diverged scores 0; of
            # equal logits the lower class index counts as the higher.
            earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
            ranks = (~(logits <= own) | ((logits == own) & earlier)).sum(1)
            columns = (sample['indices'], labels, logits.argmax(1), ranks)
            self.results.extend(zip(*(column.cpu().tolist() for column in columns), strict=True))

    def compute_metrics(self, results: list[tuple[int, int, int, int]]) -> dict[str, float]:
        """Compute the shares; an image that several processes have seen counts once."""
        table = np.array(list({row[0]: row for row in results}.values()))
        labels, predictions, ranks = table[:, 1], table[:, 2], table[:, 3]
        metrics = {f'top{k}': float(100 * (ranks < k).mean()) for k in self.topk}
        names = (self.dataset_meta or {}).get('classes') or [
            str(label) for label in range(max(labels.max(), predictions.max()) + 1)
        ]
        if self.per_class:
            for label, name in enumerate(names):
                own = ranks[labels == label]
                if len(own):
                    metrics[f'top1/{name}'] = float(100 * (own == 0).mean())
        if self.confusion:
            counts = np.zeros((len(names), len(names)), dtype=np.int64)
            np.add.at(counts, (labels, predictions), 1)
            path = draw_confusion(counts, names, Path(self.confusion))
            MMLogger.get_current_instance().info(f'wrote {path}')
        return metrics
