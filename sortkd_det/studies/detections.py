"""Files of detections, as CocoMetric's ``outfile_prefix`` has them, scored on resampled images."""

import contextlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sortkd_det.files import DAMAGED
from sortkd_det.training.coco_ground_truth import mend_ground_truth

from .coco_bootstrap import COCO_METRICS, Resampled, ResampledAP, draw_counts, mean_over_classes


class TestSet:
    """Images with their boxes, and draws of these images, the same for all detectors.

    Args:
        annotations: file in COCO's format.
        draws: of as many images as there are, with replacement.
        classes: names of the categories that count, as CocoMetric leaves out those that are no
            classes of the data set; None: all.
        seed: of the draws.
        metric: one of :data:`COCO_METRICS`.

    Raises:
        ValueError: the file is none of COCO's, or has no object.
    """

    __test__ = False  # no test of pytest's

    def __init__(
        self,
        annotations: Path,
        draws: int,
        classes: Sequence[str] | None = None,
        seed: int = 0,
        metric: str = 'coco/bbox_mAP',
    ) -> None:
        self.path = annotations
        self._area, self._thresholds, self._max_dets = COCO_METRICS[metric]
        try:
            with contextlib.redirect_stdout(
                io.StringIO()
            ):  # pycocotools speaks to whoever is there
                self._coco = COCO(str(annotations))
            images = sorted(self._coco.getImgIds())
            self._categories = sorted(self._coco.getCatIds(catNms=list(classes or ())))
            self.class_names = _distinct(self._coco.loadCats(self._categories))
        except FileNotFoundError:
            raise
        except DAMAGED as error:
            raise ValueError(f'{annotations} is no file of COCO annotations ({error!r})') from error
        if not images or not self._categories:
            raise ValueError(
                f'{annotations} has {len(images)} images, and {len(self._categories)} categories '
                f'of the classes {", ".join(classes) if classes else "(all)"}: there is nothing '
                'to score detections on'
            )
        mend_ground_truth(SimpleNamespace(_coco_api=self._coco))
        objects = self._coco.loadAnns(self._coco.getAnnIds(catIds=self._categories))
        if all(each.get('iscrowd') for each in objects):
            raise ValueError(
                f'{annotations} has no object of the classes '
                f'{", ".join(map(str, self.class_names))}: there is nothing to find'
            )
        self.num_images = len(images)
        self._without = set(images)
        self._classes_without = {each['category_id'] for each in objects if not each['iscrowd']}
        once = np.ones((1, self.num_images), dtype=np.int32)
        self._counts = np.concatenate([once, draw_counts(self.num_images, draws, seed)])

    def _check(self, found: Sequence[dict]) -> None:
        """Refuse what pycocotools would leave out, or put in any order, without a word."""
        known = set(self._coco.getCatIds())
        unknown = sorted({each['category_id'] for each in found} - known)
        if unknown:
            raise ValueError(
                f'it has the category ids {unknown[:5]}, and there are {sorted(known)[:5]}'
            )
        rows = [[*each['bbox'], each['score']] for each in found]
        if any(len(row) != 5 for row in rows):
            raise ValueError('it has boxes of more or fewer than four numbers')
        numbers = np.array(rows)
        if numbers.dtype.kind not in 'fiu' or not np.isfinite(numbers).all():
            raise ValueError('it has boxes or scores that are no finite numbers')

    @property
    def num_without(self) -> int:
        """How many images none of the files that were scored has a detection of."""
        return len(self._without)

    @property
    def classes_without(self) -> list[str]:
        """The classes that have objects, and no detection in any of the files scored."""
        names = zip(self._categories, self.class_names, strict=True)
        return [name for number, name in names if number in self._classes_without]

    def score(self, detections: Path) -> Resampled:
        """The metric of a file of detections.

        Raises:
            ValueError: the file has none, or is of other images.
        """
        try:
            found = json.loads(detections.read_text())
            if not found:
                raise ValueError('it is empty')
            self._check(found)
            with contextlib.redirect_stdout(io.StringIO()):
                evaluation = COCOeval(self._coco, self._coco.loadRes(found), 'bbox')
                params = evaluation.params
                place = params.areaRngLbl.index(self._area)
                params.areaRng, params.areaRngLbl = [params.areaRng[place]], [self._area]
                params.maxDets = [self._max_dets]
                params.catIds = self._categories
                evaluation.evaluate()
        except FileNotFoundError:
            raise
        except DAMAGED as error:
            raise ValueError(
                f'{detections} holds no detections of the images of {self.path} ({error}); '
                'expected the .bbox.json that test_evaluator.outfile_prefix has CocoMetric write'
            ) from error
        self._without -= {each['image_id'] for each in found}
        self._classes_without -= {each['category_id'] for each in found}
        precision = ResampledAP(evaluation, self._area)(self._counts)[:, self._thresholds]
        # Classes are known for all thresholds of a draw or for none.
        return Resampled(100 * mean_over_classes(precision), 100 * precision.mean(axis=1))


def _distinct(categories: Sequence[dict]) -> list[str]:
    """Their names, of those of one name with their ids."""
    times = Counter(each['name'] for each in categories)
    return [
        each['name'] if times[each['name']] == 1 else f'{each["name"]} (id {each["id"]})'
        for each in categories
    ]
