"""The trial of a teacher before training: a few images of the validation set."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch.utils.data import Dataset, Subset

from .teacher import Teacher


def check_validation(cfg: Mapping) -> None:
    """Raise unless a run has the validation that a trial is made on.

    Args:
        cfg: the config of the run.

    Raises:
        ValueError: it has none.
    """
    if cfg.get('val_dataloader') is None or cfg.get('val_evaluator') is None:
        raise ValueError('check_teacher needs a val_dataloader and a val_evaluator in the config')


def try_teacher(teacher: Teacher, runner: Runner, num_images: int) -> None:
    """Test the teacher on images of the validation set and log its metrics.

    Args:
        teacher: on the device of the run.
        runner: with a validation.
        num_images: how many; of a ``ConcatDataset``, as many of each part.

    Raises:
        ValueError: the run has no validation; fewer images than parts with metrics of their own.
    """
    check_validation(runner.cfg)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        evaluator: Evaluator = runner.build_evaluator(copy.deepcopy(runner.cfg.val_evaluator))
        each_part = hasattr(evaluator, 'dataset_prefixes')  # a metric for each part of the data
        images = SomeImages(runner.val_dataloader.dataset, num_images, each_part)
        loader_config = {**copy.deepcopy(runner.cfg.val_dataloader), 'dataset': images}
        loader_config['persistent_workers'] = False
        loader = runner.build_dataloader(loader_config, seed=0)  # or numpy's generator would move
        evaluator.dataset_meta = images.metainfo
        for index, metric in enumerate(evaluator.metrics):
            if hasattr(metric, 'img_ids'):  # CocoMetric counts every image of its file otherwise
                metric.img_ids = images.ids(index if each_part else None)
        tested = 0
        for data in loader:
            found = teacher.class_map.relabel(teacher.model.test_step(data))
            evaluator.process(data_samples=found, data_batch=data)
            tested += len(data['inputs'])
        total = torch.tensor(tested)
        all_reduce(total, op='sum')
        tested = min(total.item(), len(images))  # samplers repeat images for equal shares
        metrics = evaluator.evaluate(tested)
    shown = ', '.join(f'{name} {value:.3f}' for name, value in metrics.items())
    log = runner.logger.info if shown else runner.logger.warning
    log(f'teacher on {tested} images of the validation set: {shown or "no detections"}')


class SomeImages(Subset):
    """The first images of a data set, each once, of any kind of data set and wrappers around it.

    Args:
        dataset: a data set of MMEngine, a wrapper (``ConcatDataset``, ``RepeatDataset``,
            ``ClassBalancedDataset``, …) around others, or any other with a length.
        num_images: how many, if there are as many; of the parts of a ``ConcatDataset`` by turns.
        each_part: whether each part has a metric of its own: then one image that two
            parts have is two.

    Attributes:
        metainfo: that of the data set.

    Raises:
        ValueError: ``each_part``, and fewer images than parts.
    """

    def __init__(self, dataset: Dataset, num_images: int, each_part: bool) -> None:
        self._ends = list(getattr(dataset, 'cumulative_sizes', None) or [len(dataset)])
        if each_part and num_images < len(self._ends):
            raise ValueError(
                f'check_teacher is {num_images} and the validation set has {len(self._ends)} parts '
                'with metrics of their own; expected at least as many images'
            )
        self._ids: dict[int, Any] = {}  # of each index
        seen = set()
        for part, index in _by_turns(self._ends):
            if len(self._ids) == num_images:
                break
            image = _image_id(dataset, index)
            key = index if image is None else (part if each_part else None, image)
            if key not in seen:
                seen.add(key)
                self._ids[index] = image
        super().__init__(dataset, sorted(self._ids))
        sizes = [sum(index < end for index in self.indices) for end in self._ends]
        self.metainfo = _with_sizes(getattr(dataset, 'metainfo', None), sizes)

    def ids(self, part: int | None = None) -> list[Any]:
        """The images' ids, of one part or of all.

        Raises:
            ValueError: the data set does not tell.
        """
        start = self._ends[part - 1] if part else 0
        end = self._ends[-1 if part is None else part]
        found = [self._ids[index] for index in self.indices if start <= index < end]
        if None in found:
            raise ValueError(
                f'check_teacher needs the ids of the images, and get_data_info of the validation '
                f'set, a {type(self.dataset).__name__}, tells no img_id; take check_teacher out'
            )
        return found

    def get_data_info(self, index: int) -> dict:
        """What the data set says of one of the images; batch samplers ask for it."""
        return self.dataset.get_data_info(self.indices[index])


def _by_turns(ends: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Part and index of all samples: the first of each part, the second of each, and so on."""
    starts = [0, *ends[:-1]]
    parts = [
        [(part, index) for index in range(start, end)]
        for part, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    return (place for places in zip_longest(*parts) for place in places if place is not None)


def _image_id(dataset: Dataset, index: int) -> Any:
    """The id of a sample's image, or None where the data set does not tell."""
    if not hasattr(dataset, 'get_data_info'):
        return None
    return dataset.get_data_info(index).get('img_id')


def _with_sizes(metainfo: Any, sizes: list[int]) -> Any:
    """The metainfo of parts of other sizes."""
    if isinstance(metainfo, Mapping):
        return (
            {**metainfo, 'cumulative_sizes': sizes} if 'cumulative_sizes' in metainfo else metainfo
        )
    if isinstance(metainfo, list | tuple):  # one for each part
        return [_with_sizes(each, sizes) for each in metainfo]
    return metainfo
