"""The classes that a teacher was trained on, beside those of the data."""

import os
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from sortkd_det.checkpoints import classes_of_checkpoint, load_checkpoint
from sortkd_det.distill import ClassMap

from .datasets import class_names
from .findings import Report
from .parts import coco_parts


def check_teacher(cfg: Config, teacher: Any, report: Report) -> None:
    """Compare the classes that a teacher's checkpoint names with those of the training data.

    A checkpoint that is not on this machine's disks is left to the run.

    Args:
        cfg: the config of a run.
        teacher: the hook's: ``dict(config=…, checkpoint=…)``.
        report: takes what is found.
    """
    path = teacher.get('checkpoint') if isinstance(teacher, Mapping) else None
    if not isinstance(path, str) or '://' in path:
        return
    if not os.path.isfile(path):
        report.add(
            f'checkpoint {path}',
            'of the teacher does not exist',
            'name it by --teacher-checkpoint PATH',
            error=FileNotFoundError,
        )
        return
    parts, _ = coco_parts('train_dataloader', (cfg.get('train_dataloader') or {}).get('dataset'))
    own = class_names(parts[0], Report()) if parts else None
    try:
        classes = classes_of_checkpoint(load_checkpoint(path))
        if own and classes is not None:
            ClassMap(own, classes, teacher.get('class_map'), teacher.get('unmapped', 'error'))
    except (TypeError, ValueError) as error:
        report.add(
            path,
            f'cannot teach this: {error}',
            'expected the checkpoint of a teacher that has the classes of the data',
            error=type(error),
        )
        return
    if classes is None:
        report.add(
            path,
            'names no classes: only their number can be checked',
            'see that the teacher was trained on the classes of the data, in their order',
        )
