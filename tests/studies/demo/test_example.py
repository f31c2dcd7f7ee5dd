"""The sample that the demo's figure shows: found in batches as distillation reads them."""

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.registry import DefaultScope

from sortkd_det.cli.config import set_data_root
from sortkd_det.distill import Teacher
from sortkd_det.studies.demo.example import TaughtObject, choose_wrong, find_examples


def make_example(logits, activation='softmax'):
    box, picture = torch.tensor([0.0, 0, 10, 10]), np.zeros((10, 10, 3), np.uint8)
    return TaughtObject(picture, box, box, 0, 0.9, torch.tensor(logits), activation)


def test_the_example_is_one_on_which_the_teacher_is_wrong():
    right = make_example([3.0, 1.0, 0.0, 0.0])
    second = make_example([2.0, 3.0, 0.0, 0.0])
    third = make_example([1.0, 3.0, 2.0, 0.0])
    clearer_third = make_example([1.5, 3.0, 2.2, 0.0])
    assert [each.rank for each in (right, second, third)] == [1, 2, 3]
    assert choose_wrong([right, third, second, clearer_third]) is clearer_third
    assert choose_wrong([right, second]) is second
    assert choose_wrong([right]) is right
    assert choose_wrong([]) is None


@pytest.mark.parametrize('name', ['student', 'gfl_student'])
def test_examples_are_rows_on_objects_with_what_the_teacher_gives_them(
    name, tmp_path, toy_data, save_random_weights
):
    cfg = Config.fromfile(f'configs/toy/{name}.py')
    if name == 'student':  # proposals of random weights are on objects by chance
        cfg.model.train_cfg.rcnn.assigner.update(pos_iou_thr=0.1, neg_iou_thr=0.1, min_pos_iou=0.1)
    save_random_weights(cfg, tmp_path / 'weights.pth')
    set_data_root(cfg, str(toy_data))
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        student, teacher = (Teacher(cfg, str(tmp_path / 'weights.pth')) for _ in range(2))
        examples = find_examples(student.model, teacher, dataset, range(4))
    assert len(examples) >= 4
    columns = 13 if name == 'student' else 12
    for example in examples:
        assert example.picture.shape == (160, 160, 3)
        assert example.logits.shape == (columns,)
        assert 0 <= example.label < 12
        box, truth = example.box[None], example.truth[None]
        assert example.iou == pytest.approx(float(bbox_overlaps(box, truth)), abs=1e-6)
        assert example.iou > 0
    chances = examples[0].probabilities.sum()
    assert (abs(float(chances) - 1) < 1e-6) == (name == 'student')
    assert len({id(example.picture) for example in examples}) == 4
