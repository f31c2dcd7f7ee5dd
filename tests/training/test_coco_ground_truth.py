"""COCO's evaluation is right whatever the annotations' ids are."""

import copy
import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator

from sortkd_det.training import ResumableRunner
from sortkd_det.training.coco_ground_truth import mend_ground_truth

IMAGES = [{'id': i, 'file_name': f'{i}.png', 'width': 80, 'height': 60} for i in (1, 2, 3)]
BOXES = [(1, [5, 5, 40, 30]), (1, [50, 5, 20, 30]), (2, [10, 10, 44, 40]), (3, [0, 0, 60, 50])]


def coco(ids, boxes=BOXES, **others):
    annotations = [
        {'image_id': image, 'category_id': 7, 'bbox': box, 'area': box[2] * box[3], **others}
        | ({} if key is None else {'id': key})
        for key, (image, box) in zip(ids, boxes, strict=True)
    ]
    return {
        'images': IMAGES,
        'annotations': annotations,
        'categories': [{'id': 7, 'name': 'cat'}],
    }


def detections(shift=0.0):
    """What the metric gets of a detector that finds each box, ``shift`` pixels beside it."""
    for image in IMAGES:
        found = [box for key, box in BOXES if key == image['id']]
        corners = torch.tensor([[x + shift, y, x + w + shift, y + h] for x, y, w, h in found])
        yield {
            'img_id': image['id'],
            'ori_shape': (60, 80),
            'pred_instances': {
                'bboxes': corners.float(),
                'scores': torch.linspace(0.9, 0.5, len(found)),
                'labels': torch.zeros(len(found), dtype=torch.int64),
            },
        }


@pytest.fixture
def evaluate(tmp_path):
    """Metrics of detections, by the evaluator that a run builds, or MMDetection's own."""

    def run(content, shift=0.0, ours=True, **settings):
        path = tmp_path / 'truth.json'
        path.write_text(json.dumps(content))
        before = path.read_bytes()
        config = [dict(type='mmdet.CocoMetric', ann_file=str(path), **settings)]
        # The method needs nothing of a run.
        runner = ResumableRunner.__new__(ResumableRunner)
        evaluator = runner.build_evaluator(config) if ours else Evaluator(config)
        evaluator.dataset_meta = {'classes': ('cat',)}
        evaluator.process(data_samples=list(detections(shift)), data_batch=None)
        metrics = evaluator.evaluate(len(IMAGES))
        assert path.read_bytes() == before
        return metrics

    return run


def test_one_perfect_detection_has_ap_1_whatever_its_box_is_called(evaluate, monkeypatch):
    monkeypatch.setattr(f'{__name__}.BOXES', BOXES[:1])
    for key in (0, 1, -1, '0', '5f0c', 2**70):
        metrics = evaluate(coco([key], BOXES, iscrowd=0))
        assert metrics['coco/bbox_mAP'] == 1.0, key


@pytest.mark.parametrize(
    'ids', [[0, 1, 2, 3], [3, 2, 1, 0], ['a', 'b', 'c', 'd'], ['0', '1', '2', '3'], [9, 'x', 0, 1]]
)
def test_ids_of_annotations_change_no_metric(evaluate, ids):
    settings = dict(metric=['bbox', 'proposal'], classwise=True)
    for shift in (0.0, 4.0, 9.0):
        expected = evaluate(coco([1, 2, 3, 4], iscrowd=0), shift, ours=False, **settings)
        assert evaluate(coco(ids, iscrowd=0), shift, **settings) == expected
    assert 0 < expected['coco/bbox_mAP'] < 1


def test_mmdetection_alone_would_be_wrong(evaluate):
    """If this fails, pycocotools has mended it, and so can we."""
    assert evaluate(coco([0, 1, 2, 3], iscrowd=0), ours=False)['coco/bbox_mAP'] < 0.95
    with pytest.raises(ValueError, match='could not convert string to float'):
        evaluate(coco(['a', 'b', 'c', 'd'], iscrowd=0), ours=False)
    with pytest.raises(KeyError, match='iscrowd'):
        evaluate(coco([1, 2, 3, 4]), ours=False)


@pytest.mark.parametrize('others', [{}, {'iscrowd': None}, {'iscrowd': False}])
def test_absent_crowd_flags_are_0(evaluate, others):
    settings = dict(metric=['bbox', 'proposal'])
    expected = evaluate(coco([1, 2, 3, 4], iscrowd=0), 4.0, ours=False, **settings)
    assert evaluate(coco([1, 2, 3, 4], **others), 4.0, **settings) == expected


def test_what_is_evaluable_is_left_as_it_is(tmp_path):
    from mmdet.evaluation import CocoMetric

    (tmp_path / 'truth.json').write_text(json.dumps(coco([4, 1, 3, 2], iscrowd=0)))
    metric = CocoMetric(str(tmp_path / 'truth.json'))
    before, index = copy.deepcopy(metric._coco_api.dataset), metric._coco_api.anns
    mend_ground_truth(metric)
    assert metric._coco_api.dataset == before
    assert metric._coco_api.anns is index
    assert list(index) == [4, 1, 3, 2]


def test_metrics_of_other_kinds_are_left_alone():
    class Other:
        pass

    for api in (None, Other(), np.zeros(3)):
        metric = Other()
        metric._coco_api = api
        mend_ground_truth(metric)
        assert metric._coco_api is api
    mend_ground_truth(Other())
