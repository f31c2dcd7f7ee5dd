"""The run that learns nothing, on a handful of generated images."""

import copy
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from report_pages import decoded

from sortkd_det.checkpoints import load_checkpoint
from sortkd_det.cli.distillation import find_distill_hook
from sortkd_det.hooks.teacher_audit_hook import count_by_class, summarise
from sortkd_det.studies.teacher_loop import TeacherLoop, make_analysis


def looked_at(start, cfg, num_images=12, rows_of='teacher', watch=None, num_examples=0):
    """The run's loop, when it is over; ``watch`` sees each batch too."""
    cfg = copy.deepcopy(cfg)
    make_analysis(cfg, num_images, rows_of, num_examples)
    runner = start(cfg)
    if watch is not None:
        hook = next(hook for hook in runner.hooks if type(hook).__name__ == 'DistillHook')
        hook.watchers.append(watch)
    runner.train()
    assert type(runner.train_loop) is TeacherLoop
    return runner.train_loop


@pytest.fixture
def retinanet(detector, tmp_path, save_random_weights) -> Config:
    """A thin RetinaNet with random weights, and itself as teacher."""
    model = get_config('mmdet::_base_/models/retinanet_r50_fpn.py').model
    model.backbone.update(depth=18, init_cfg=None)
    model.neck.update(in_channels=[64, 128, 256, 512], out_channels=32)
    model.bbox_head.update(num_classes=12, in_channels=32, feat_channels=32, stacked_convs=1)
    detector.model = model
    path = tmp_path / 'retina.pth'
    save_random_weights(Config(dict(detector.to_dict())), path)
    find_distill_hook(detector).teacher = dict(config=dict(model=model), checkpoint=str(path))
    return detector


def test_it_counts_what_the_audit_of_a_run_counts(start, detector):
    # Proposals of random weights are on objects by chance.
    near = dict(pos_iou_thr=0.1, neg_iou_thr=0.1, min_pos_iou=0.1)
    detector.model.train_cfg.rcnn.assigner.update(near)
    batches = []
    loop = looked_at(start, detector, watch=batches.append)
    audit = summarise(sum(count_by_class(batch.logits) for batch in batches), 12)
    groups = loop.analysis.groups
    assert loop.images == 12
    assert list(groups) == ['foreground', 'GT boxes', 'background', 'all rows']
    assert audit['fg_top1'] == pytest.approx(1 - groups['foreground'].error)
    assert audit['fg_rank'] == pytest.approx(groups['foreground'].mean_rank)
    assert audit['gt_top1'] == pytest.approx(1 - groups['GT boxes'].error)
    assert audit['bg_top1'] == pytest.approx(1 - groups['background'].error)
    sort = groups['all rows'].changes['sort'].as_dict()
    assert audit['sorted'] == pytest.approx(sort['share_changed'])
    by_iou = loop.analysis.by_iou
    for kind in ('foreground', 'background'):
        assert sum(row.rows for row in by_iou if row.kind == kind) == groups[kind].rows
    assert max(row.high for row in by_iou if row.kind == 'background') <= 0.2
    objects = loop.analysis.objects
    assert audit['fg_as_bg'] == pytest.approx(objects.as_background / objects.rows)


def test_a_teacher_that_is_its_own_student_is_what_its_rows_show(start, detector):
    batches = []
    looked_at(start, detector, 4, watch=lambda batch: batches.append(batch.logits))
    assert len(batches) == 2
    for batch in batches:
        assert torch.allclose(batch.student, batch.teacher, atol=1e-5)


def test_nothing_is_trained_and_nothing_but_logs_written(start, detector, random_teacher):
    loop = looked_at(start, detector, 4)
    weights = load_checkpoint(str(random_teacher))['state_dict']
    for name, value in loop.runner.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert not list(Path(loop.runner.work_dir).rglob('*.pth'))
    assert not loop.runner.optim_wrapper.state_dict()['state']


def test_rows_of_background_are_counted_where_the_adapter_reads_them(start, retinanet, toy_data):
    find_distill_hook(retinanet).adapter = dict(type='DenseHeadAdapter', negatives='none')
    loop = looked_at(start, retinanet)
    assert list(loop.analysis.groups) == ['foreground']
    annotations = json.loads((toy_data / 'annotations/train.json').read_text())['annotations']
    assert loop.analysis.objects.rows >= len(annotations)  # RetinaNet finds each at one or more
    assert loop.analysis.activation == 'sigmoid'
    assert loop.analysis.by_iou == []


def test_of_sigmoids_all_rows_are_read(start, retinanet):
    loop = looked_at(start, retinanet, 4)
    assert list(loop.analysis.groups) == ['foreground', 'background', 'all rows']
    assert loop.analysis.groups['background'].changes['sort'].changed == 0


def test_a_classifier(start, classifier):
    loop = looked_at(start, classifier)
    (group,) = loop.analysis.groups.values()
    assert (loop.images, group.rows) == (12, 12)
    assert loop.analysis.names == ['blue', 'green', 'red']
    assert [row.rows for row in loop.analysis.classes] == [4, 4, 4]


@pytest.mark.parametrize(('asked', 'seen'), [(1, 2), (4, 4), (5, 6), (1000, 12)])
def test_images_are_looked_at_in_whole_batches_and_each_once(start, detector, asked, seen):
    assert looked_at(start, detector, asked).images == seen


def test_the_same_is_found_twice(start, detector):
    first, second = (looked_at(start, detector, 4).analysis.as_dict() for _ in range(2))
    assert first == second


def test_rows_that_sorting_changes_are_kept_with_what_is_there(start, detector, toy_data, tmp_path):
    """White boxes on black, flipped and resized by the pipeline, are where the rows say."""
    data = tmp_path / 'white'
    content = json.loads((toy_data / 'annotations/train.json').read_text())
    boxes = {each['image_id']: each for each in content['annotations']}  # one of each image
    (data / 'annotations').mkdir(parents=True)
    (data / 'train').mkdir()
    for image in content['images']:
        picture = np.zeros((image['height'], image['width'], 3), dtype=np.uint8)
        x, y, width, height = map(round, boxes[image['id']]['bbox'])
        boxes[image['id']]['bbox'] = [x, y, width, height]
        picture[y : y + height, x : x + width] = 255
        cv2.imwrite(str(data / 'train' / image['file_name']), picture)
    content['annotations'] = list(boxes.values())
    (data / 'annotations/train.json').write_text(json.dumps(content))
    detector.train_dataloader.dataset.data_root = f'{data}/'
    only_truth = dict(pos_iou_thr=0.99, neg_iou_thr=0.99, min_pos_iou=0.99)
    detector.model.train_cfg.rcnn.assigner.update(only_truth)
    found = looked_at(start, detector, num_examples=3).examples.found
    assert len(found) == 3
    for example in found:
        assert example.is_truth
        assert example.probabilities['sort'].argmax() == example.label
        assert example.probabilities[''].argmax() != example.label
        left, top, right, bottom = map(round, example.box)
        picture = decoded(example)
        assert picture[top:bottom, left:right].mean() > 230
        picture[max(top - 9, 0) : bottom + 9, max(left - 9, 0) : right + 9] = 0
        assert picture.mean() < 5


def test_of_a_classifier_whole_images_are_kept(start, classifier):
    found = looked_at(start, classifier, num_examples=12).examples.found
    assert found
    for example in found:  # blue, green and red pictures; OpenCV's order of channels
        assert decoded(example).mean((0, 1)).argmax() == example.label
        assert example.box == (0, 0, *example.size)


def test_rows_of_the_student(start, detector):
    detector.model.roi_head.bbox_head.fc_out_channels = 48  # other than the teacher's
    loop = looked_at(start, detector, 4, 'student')
    assert loop.runner.model.roi_head.bbox_head.fc_out_channels == 48
    assert loop.analysis.groups['GT boxes'].rows > 0


def test_a_teacher_that_knows_more_is_read_in_the_students_classes(start, detector):
    detector.train_dataloader.dataset.metainfo = dict(classes=('square', 'circle'))
    detector.model.roi_head.bbox_head.num_classes = 2
    loop = looked_at(start, detector, 12, 'student')
    assert loop.analysis.names == ['square', 'circle', 'background']
    assert {row.name for row in loop.analysis.classes} <= {'square', 'circle'}


def test_a_teacher_samples_as_the_config_says(detector):
    detector.model.train_cfg.rcnn.sampler.num = 7
    make_analysis(detector, 4)
    assert detector.model['train_cfg'].rcnn.sampler.num == 7


def test_weights_that_would_be_overwritten_are_not_fetched(detector):
    pretrained = dict(type='Pretrained', checkpoint='torchvision://resnet50')
    model = get_config('mmdet::_base_/models/faster-rcnn_r50_fpn.py').model
    assert model.backbone.init_cfg == pretrained
    model.neck.init_cfg = [dict(type='Xavier')]
    find_distill_hook(detector).teacher = dict(config=dict(model=model), checkpoint='x.pth')
    make_analysis(detector, 4)
    assert 'init_cfg' not in detector.model['backbone']
    assert detector.model['neck']['init_cfg'] == [dict(type='Xavier')]
    assert detector.load_from == 'x.pth'


# -- what is refused ---------------------------------------------------------


def test_a_run_without_a_teacher_is_refused(detector):
    detector.custom_hooks = []
    with pytest.raises(ValueError, match='no teacher named: give --teacher CONFIG'):
        make_analysis(detector, 4)


@pytest.mark.parametrize(('number', 'error'), [(0, ValueError), (2.5, TypeError)])
def test_a_number_of_images_is_whole_and_above_zero(detector, number, error):
    with pytest.raises(error, match='--images must be'):
        make_analysis(detector, number)


def test_other_rows_are_refused(detector):
    with pytest.raises(ValueError, match='--rows-of must be'):
        make_analysis(detector, 4, 'both')


def test_a_teacher_of_other_classes_cannot_be_its_own_student(start, detector):
    detector.train_dataloader.dataset.metainfo = dict(classes=('circle', 'square'))
    with pytest.raises(ValueError, match=r'tells 12 classes apart and the data set has 2, so'):
        looked_at(start, detector, 4)


def test_sigterm_ends_it(start, detector):
    make_analysis(detector, 12)
    runner = start(detector)
    runner.stop_asked = True
    with pytest.raises(KeyboardInterrupt, match='stopped by SIGTERM: nothing was written'):
        runner.train()
    assert runner.train_loop.images == 2  # the batch that was looked at
