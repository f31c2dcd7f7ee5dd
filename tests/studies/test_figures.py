import cv2
import numpy as np
import pytest
import torch

from sortkd_det.studies.curves import draw_learning_curves
from sortkd_det.studies.scalars import RunScalars
from sortkd_det.studies.sorting_figure import draw_sorting

CLASSES = ['circle', 'square', 'star', 'background']


def read(path):
    return cv2.imread(str(path)).astype(int)


def draw(path, logits=(2.0, 1.0, 1.5, 0.0), label=1, **options):
    draw_sorting(torch.tensor(logits), label, CLASSES, path, **options)
    return read(path)


def scalars(distilled: bool, factor: float = 1.0) -> RunScalars:
    train = {
        step: {'loss_cls': factor / step} | ({'loss_distill': 1 / step} if distilled else {})
        for step in range(25, 500, 25)
    }
    return RunScalars(train, {epoch: {'coco/bbox_mAP': 0.1 * epoch} for epoch in (2, 4)})


def test_learning_curves_are_drawn(tmp_path):
    path = tmp_path / 'curves.png'
    draw_learning_curves({'alone': scalars(False), 'KD': scalars(True)}, path)
    image = read(path)
    assert image.shape == (600, 1800, 3)
    draw_learning_curves({'alone': scalars(False), 'KD': scalars(True, factor=2.0)}, path)
    assert (image != read(path)).any()


@pytest.mark.parametrize('runs', [{}, {'alone': RunScalars()}, {'alone': scalars(False)}])
def test_learning_curves_of_runs_that_logged_little_are_drawn(runs, tmp_path):
    draw_learning_curves(runs, tmp_path / 'curves.png')
    assert read(tmp_path / 'curves.png').shape == (600, 1800, 3)


def test_sorting_is_drawn_and_changes_nothing_where_the_teacher_is_right(tmp_path):
    wrong = draw(tmp_path / 'wrong.png')
    right = draw(tmp_path / 'right.png', label=0)
    blue = np.array([0xB2, 0x72, 0x00])  # moved classes, BGR
    assert wrong.shape == right.shape == (720, 1440, 3)
    num_moved = [(image == blue).all(axis=2).sum() for image in (wrong, right)]
    assert num_moved[0] > 4 * num_moved[1]  # of which nothing but the legend is left


def test_sorting_is_drawn_with_the_image(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    options = dict(image=image, box=[5, 5, 25, 30], truth=[0, 0, 30, 35], caption='image 7')
    drawn = draw(tmp_path / 'sorting.png', **options)
    assert drawn.shape == (720, 1440, 3)
    assert (drawn != draw(tmp_path / 'plain.png')).any()


def test_names_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match='3 logits need as many class names, got 4'):
        draw(tmp_path / 'sorting.png', logits=(1.0, 2.0, 3.0))


def test_a_label_out_of_range_is_refused(tmp_path):
    with pytest.raises(ValueError, match='labels must lie in 0…3'):
        draw(tmp_path / 'sorting.png', label=4)
