"""What of a data set is left over, counted as MMDetection does."""

import re

import numpy as np
import pytest
from coco_files import TRAIN, VAL, coco, found, only, report_of
from mmengine.config import Config

from sortkd_det.detection.data_checks import check_annotations


def test_a_training_set_of_crowds_alone_is_empty(part):
    with pytest.raises(
        ValueError,
        match=r'empty training set: .*data\.json has 3 images and 6 boxes, and all of them are '
        r'crowds \(iscrowd 1\), which MMDetection ignores',
    ):
        check_annotations(Config(dict(train_dataloader=dict(dataset=part(coco(iscrowd=1))))), TRAIN)


def test_why_no_box_counts_is_said_where_all_images_are_left_out(part):
    content = coco()
    for annotation in content['annotations']:
        annotation['image_id'] = str(annotation['image_id'])
    with pytest.raises(
        ValueError,
        match=r'all of the images have no box of a class of the config: .*; 6 of the boxes are of '
        r'an image that the file does not have: MMDetection leaves them out; expected',
    ):
        check_annotations(
            Config(
                dict(
                    train_dataloader=dict(
                        dataset=part(content, filter_cfg=dict(filter_empty_gt=True))
                    )
                )
            ),
            TRAIN,
        )


def test_crowds_are_counted(part):
    content = coco()
    for annotation in content['annotations'][:2]:
        annotation['iscrowd'] = 1
    report = report_of(part(content))
    assert '2 of the 6 boxes are crowds (iscrowd 1), which MMDetection ignores' in only(
        each.message for each in report.findings
    )
    (count,) = report.counts
    assert (count.used_images, count.used_boxes, count.empty_images) == (3, 4, 1)
    assert found(part(content), loader=VAL) == []  # COCO's evaluation knows crowds


def test_images_that_min_size_drops_are_counted_with_their_boxes(part):
    content = coco()
    content['images'][0].update(width=20, height=90)
    images, boxes = found(part(content, filter_cfg=dict(min_size=32)))[:2]
    assert '1 of the 3 images are smaller than filter_cfg.min_size = 32' in images
    assert '2 of the 6 boxes are of images that the data set leaves out' in boxes
    with pytest.raises(ValueError, match=r'empty .* all of the images are smaller than filter_cfg'):
        report_of(part(filter_cfg=dict(min_size=61))).raise_errors()
    assert found(part(filter_cfg=dict(min_size=61), test_mode=True)) == []


def test_a_part_without_images_is_an_error_beside_others(part):
    """MMDetection would say "need at least one array to concatenate"."""
    empty = part(name='small.json', filter_cfg=dict(min_size=61))
    parts = dict(type='ConcatDataset', datasets=[part(), empty])
    with pytest.raises(ValueError, match=r'has a data set without images: .*small\.json'):
        report_of(parts).raise_errors()
    with pytest.raises(ValueError, match=r'without images: .* has 0 images and 0 boxes'):
        report_of(part(coco(0)), loader=VAL).raise_errors()


def test_what_the_config_does_not_name_and_what_is_ignored_is_counted(part):
    content = coco()
    content['categories'].append({'id': 9, 'name': 'cow'})
    content['annotations'][3]['category_id'] = 9
    content['annotations'][4]['ignore'] = True
    unnamed, ignored = found(part(content))
    assert '1 of the 6 boxes are of a class that the config does not name' in unnamed
    assert '1 of the 6 boxes have "ignore" set' in ignored


@pytest.mark.parametrize('seed', range(6))
def test_counts_are_those_of_mmdetections_own_data_set(part, seed):
    from mmdet.datasets import CocoDataset

    rng = np.random.default_rng(seed)
    content = coco(5)
    content['categories'].insert(seed % 3, {'id': 3, 'name': 'cow'})
    for image in content['images']:
        image.update(width=int(rng.integers(30, 90)), height=int(rng.integers(30, 70)))
    content['annotations'] = [
        {
            'id': number,
            'image_id': int(rng.integers(1, 5 + number % 2)),
            'category_id': int(rng.choice([3, 7, 8])),
            'bbox': rng.integers(-20, 60, 4).tolist(),
            'area': int(rng.integers(-1, 9)),
            'iscrowd': int(rng.random() < 0.3),
            'ignore': bool(rng.random() < 0.2),
        }
        for number in range(12)
    ]
    for settings in (
        {},
        dict(filter_cfg=dict(filter_empty_gt=True, min_size=32)),
        dict(filter_cfg=dict(filter_empty_gt=True)),
        dict(filter_cfg=dict(min_size=40), indices=2),
        dict(filter_cfg=dict(min_size=40), test_mode=True, indices=[3, 0]),
        dict(indices=-2),
    ):
        config = part(content, **settings)
        (count,) = report_of(config).counts
        (judged,) = report_of(config, loader=VAL).counts
        del config['type']
        dataset = CocoDataset(**config)
        handed = [dataset.get_data_info(i)['instances'] for i in range(len(dataset))]
        used = [sum(not box['ignore_flag'] for box in boxes) for boxes in handed]
        assert count.used_images == judged.used_images == len(dataset)
        assert (count.used_boxes, count.empty_images) == (sum(used), used.count(0)), settings
        with_crowds = [len(boxes) for boxes in handed]
        assert (judged.used_boxes, judged.empty_images) == (
            sum(with_crowds),
            with_crowds.count(0),
        ), settings


def test_what_the_metric_counts_though_the_data_set_leaves_it_out_is_said(part):
    """pycocotools knows no least size: a box without area can never be found."""
    content = coco()
    content['categories'].append({'id': 9, 'name': 'cow'})
    boxes = content['annotations']
    boxes[0].update(bbox=[5, 5, 0, 10], area=0)
    boxes[1].update(bbox=[500, 5, 9, 9])
    boxes[2].update(bbox=[5, 5, 0, 10], area=0, category_id=9)
    unnamed, small, outside = found(part(content), loader=VAL)
    assert '1 of the 6 boxes are of a class that the config does not name' in unnamed
    counted = "the data set leaves them out, and COCO's metric counts them all the same"
    assert (
        f'1 of the 6 boxes are less than one pixel wide or high, or of no area: {counted}' in small
    )
    assert f'1 of the 6 boxes are outside of their image: {counted}' in outside


def test_boxes_given_as_corners_are_noticed(part):
    corners = coco()
    for annotation in corners['annotations']:
        left = annotation['id'] * 6
        annotation['bbox'] = [left, 5, left + 40, 35]
        annotation['area'] = 1200
    message = only(found(part(corners)))
    assert (
        '3 of the 6 boxes reach beyond their image; the first is id 4, bbox' in message
    )  # 24 + 64
    assert 'all boxes would fit as corners [left, top, right, bottom]' in message
    assert found(part()) == []
    rounded = coco()
    rounded['annotations'][0]['bbox'] = [40.5, 0, 40.4, 60.9]
    assert found(part(rounded)) == []
    larger = coco()
    larger['annotations'][0]['bbox'] = [60, 5, 40, 30]
    assert 'usually these are corners, or of a larger copy' in only(found(part(larger)))


def test_missing_images_are_counted_if_the_data_set_would_read_them(part):
    content = coco(6)  # of which the last has no file
    assert re.search(r'1 of the 6 images do not exist; .*/5\.png;', only(found(part(content))))
    content['annotations'] = content['annotations'][:10]
    left_out = only(found(part(content, filter_cfg=dict(filter_empty_gt=True))))
    assert '1 of the 6 images have no box of a class' in left_out
