"""COCO's annotations from strangers: checked before MMDetection reads them."""

import json
import pickle
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hostile import Call
from mmengine.config import Config

NAN, INFINITY = float('nan'), float('inf')


def coco(**changes):
    """Annotations of two images; ``changes`` replace lists."""
    images = [{'id': i, 'file_name': f'{i}.png', 'width': 8, 'height': 6} for i in (1, 2)]
    box = {'id': 1, 'image_id': 1, 'category_id': 7, 'bbox': [1, 1, 3, 4], 'area': 12}
    categories = [{'id': 7, 'name': 'cat'}, {'id': 9, 'name': 'dog'}]
    return {'images': images, 'annotations': [box], 'categories': categories} | changes


def boxes(*changes):
    (box,) = coco()['annotations']
    return {'annotations': [{**box, 'id': i, **change} for i, change in enumerate([{}, *changes])]}


def images(**change):
    first, second = coco()['images']
    return {'images': [first, {**second, **change}]}


@pytest.fixture
def check(tmp_path):
    """``check(content, **settings)``: check a data set with that file; returns its warnings."""
    from sortkd_det.detection.data_checks import check_data

    (tmp_path / 'root/images').mkdir(parents=True)
    for name in ('1.png', '2.png'):
        cv2.imwrite(str(tmp_path / 'root/images' / name), np.zeros((6, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'secret.png'), np.zeros((6, 8, 3), np.uint8))

    def run(content, loader='train_dataloader', evaluator=None, **changes):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / 'root/train.json').write_text(text)
        dataset = dict(
            type='CocoDataset',
            data_root=str(tmp_path / 'root'),
            ann_file='train.json',
            data_prefix=dict(img='images/'),
            metainfo=dict(classes=('cat', 'dog')),
        )
        cfg = {loader: dict(dataset=dataset | changes)}
        if evaluator is not None:
            cfg[loader.replace('dataloader', 'evaluator')] = evaluator
        report = check_data(Config(cfg), (loader,))
        report.raise_errors()
        run.counts = report.counts
        return [finding.message for finding in report.findings]

    run.root = str(tmp_path / 'root')
    return run


def test_files_that_mmdetection_reads_otherwise_are_left_to_it(check):
    from mmdet.datasets import CocoDataset

    panoptic = [{'image_id': 1, 'file_name': '1.png', 'segments_info': [{'id': 3}]}]
    assert check(coco(annotations=panoptic), type='CocoPanopticDataset') == []
    unannotated = coco()
    del unannotated['annotations']  # as COCO's image_info_test-dev2017.json
    assert check(unannotated, loader='test_dataloader') == []
    with pytest.raises(ValueError, match='no list under annotations'):
        check(unannotated)
    # A data set whose own classes are those of its file; a class in place of its name.
    assert check(coco(), loader='test_dataloader', type='V3DetDataset', metainfo=None) == []
    with pytest.raises(ValueError, match='78 of the 80 classes of the config are not in'):
        check(coco(), type=CocoDataset, metainfo=None)
    with pytest.raises(ValueError, match='is not JSON'):
        check('{', backend_args=dict(backend='local'))
    check('{', backend_args=dict(backend='petrel'))


def test_one_part_of_the_training_data_may_be_unlabelled(check):
    """As in MMDetection's semi-supervised configs."""
    from sortkd_det.detection.data_checks import check_annotations

    assert check(coco()) == []  # writes the file
    labelled = dict(
        type='CocoDataset',
        data_root=check.root,
        ann_file='train.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('cat', 'dog')),
    )
    rest = coco()
    del rest['annotations']
    Path(check.root, 'rest.json').write_text(json.dumps(rest))
    unlabelled = {**labelled, 'ann_file': 'rest.json', 'filter_cfg': dict(filter_empty_gt=False)}

    def checked(*parts):
        dataset = dict(type='ConcatDataset', datasets=list(parts))
        check_annotations(Config(dict(train_dataloader=dict(dataset=dataset))), LOADER)

    checked(labelled, unlabelled)
    with pytest.raises(ValueError, match='empty training set'):
        checked(unlabelled, unlabelled)
    del unlabelled['filter_cfg']
    with pytest.raises(ValueError, match='no list under annotations'):
        checked(labelled, unlabelled)


LOADER = ('train_dataloader',)


def test_sound_annotations_pass_without_a_warning(check):
    assert check(coco()) == []
    crowd = {'iscrowd': 1, 'bbox': [0.0, 0.0, 8.0, 6.0], 'area': 48.0, 'segmentation': []}
    content = coco(**boxes(crowd, {'category_id': 9}, {'ignore': 1, 'bbox': [0, 0, 2, 2]}))
    assert check(content, 'val_dataloader') == []
    # What is left out of training, as it is meant, is counted.
    ignored, crowds = check(content)
    assert 'train.json: 1 of the 4 boxes have "ignore" set' in ignored
    assert 'train.json: 1 of the 4 boxes are crowds (iscrowd 1), which MMDetection' in crowds


INCOMPLETE = 'train.json: 1 of the {} have no id'


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        *(
            (coco(**boxes(change)), INCOMPLETE.format('2 annotations'))
            for change in (
                {'bbox': [NAN, 1, 3, 4]},
                {'bbox': [1, 1, INFINITY, 4]},
                {'bbox': [1, 1, -INFINITY, 4]},
                {'bbox': [1, 1, 10**400, 4]},
                {'bbox': [1, 1, 3]},
                {'bbox': [1, 1, 3, 4, 5]},
                {'bbox': ['1', '1', '3', '4']},
                {'bbox': [1, 1, 3, None]},
                {'bbox': [1, 1, True, 4]},
                {'bbox': [[1], 1, 3, 4]},
                {'bbox': {'x': 1}},
                {'bbox': None},
                {'area': NAN},
                {'area': None},
                {'area': '12'},
                {'id': None},
                {'id': [1]},
                {'id': 1.5},
                {'image_id': None},
                {'image_id': {}},
                {'category_id': None},
                {'category_id': [7]},
            )
        ),
        *(
            (coco(**images(**change)), INCOMPLETE.format('2 images'))
            for change in (
                {'id': None},
                {'file_name': None},
                {'file_name': 5},
                {'width': 0},
                {'width': -8},
                {'height': NAN},
                {'height': '6'},
                {'height': 10**12},
                {'height': None},
            )
        ),
        (coco(images=[5]), INCOMPLETE.format('1 images')),
        (coco(annotations=['x']), INCOMPLETE.format('1 annotations')),
        (coco(categories=[{'id': 7}, {'id': 9, 'name': 'dog'}]), INCOMPLETE.format('2 categories')),
        (coco(categories=[{'id': 7, 'name': ['cat']}]), INCOMPLETE.format('1 categories')),
        (coco(**boxes({'category_id': 8})), '1 of the 2 annotations are of a category it does not'),
        (coco(**boxes({'category_id': '7'})), 'are of a category it does not have'),
        (coco(**boxes({'id': 0})), '2 of the 2 annotations share their id with another'),
        (coco(**images(id=1)), '2 of the 2 images share their id'),
        (
            coco(categories=[{'id': 7, 'name': 'cat'}, {'id': 7, 'name': 'dog'}]),
            '2 of the 2 categories share their id',
        ),
        (
            coco(categories=[{'id': i, 'name': n} for i, n in enumerate(('cat', 'dog', 'cat'))]),
            '2 of the 3 categories share their name',
        ),
        ('[' * 10**5, 'train.json is not JSON'),
        ('{"images": ' * 10**5, 'train.json is not JSON'),
        ('{"images": [' + '1' * 10**5 + ']}', 'train.json is not JSON'),
        ('\0', 'train.json is not JSON'),
        ('', 'train.json is not JSON'),
        ('null', 'not a COCO annotation file'),
    ],
)
def test_what_cannot_be_meant_is_refused(check, content, said):
    for loader in ('train_dataloader', 'val_dataloader'):
        with pytest.raises(ValueError, match=said):
            check(content, loader)


def test_boxes_that_mmdetection_leaves_out_are_counted(check):
    odd = [
        {'bbox': [1, 1, 0, 4]},
        {'bbox': [1, 1, -3, 4]},
        {'bbox': [1, 1, 0.5, 4]},
        {'area': 0},
        {'bbox': [8, 1, 3, 4]},
        {'bbox': [1, -9, 3, 4]},
        {'image_id': 3},
    ]
    partly = [{'bbox': [-1, -1, 3, 4]}, {'bbox': [7, 5, 100, 100]}]
    lost, small, outside, beyond = check(coco(**boxes(*odd, *partly)))
    assert re.search(r'4 of the 10 boxes are less than one pixel wide or high.* id 1,', small)
    assert re.search(r'train.json: 2 of the 10 boxes are outside of their image.* id 5,', outside)
    assert re.search(r'1 of the 10 boxes are of an image that the file does not.* id 7,', lost)
    assert re.search(r'1 of the 10 boxes reach beyond their image.* id 9, bbox', beyond)


def test_mmdetection_leaves_out_those_boxes_and_no_others(check, tmp_path):
    from mmdet.datasets import CocoDataset

    rng = np.random.default_rng(0)
    changes = [
        {'bbox': rng.integers(-4, 10, 4).tolist(), 'area': int(rng.integers(-1, 5)), 'image_id': 1}
        for _ in range(300)
    ]
    content = coco(annotations=boxes(*changes)['annotations'][1:])
    check(content)
    dataset = CocoDataset(
        data_root=str(tmp_path / 'root'),
        ann_file='train.json',
        data_prefix=dict(img='images/'),
        metainfo=dict(classes=('cat', 'dog')),
    )
    kept = sum(len(dataset.get_data_info(i)['instances']) for i in range(len(dataset)))
    assert check.counts[0].used_boxes == kept
    assert 20 < kept < 280


def test_a_training_set_whose_boxes_are_all_left_out_is_empty(check):
    nothing = coco(annotations=boxes({'bbox': [9, 9, 1, 1]})['annotations'][1:])
    with pytest.raises(ValueError, match=r'empty training set: .* has 2 images and 1 boxes, and'):
        check(nothing)
    assert 'outside of their image' in check(nothing, 'val_dataloader')[0]


@pytest.mark.parametrize(
    'name', ['../../secret.png', '/etc/hostname', 'a/../../../secret.png', 'file:///etc/hostname',
             'http://127.0.0.1/x.png', 's3://bucket/x.png', '1.png\0.txt', '/', '../..'],
)  # fmt: skip
def test_an_image_outside_of_the_data_root_is_refused_by_name(check, name):
    with pytest.raises(ValueError, match='names 1 images outside of the data set') as refused:
        check(coco(**images(file_name=name)))
    assert repr(name) in str(refused.value)


def test_names_that_stay_within_the_data_root_pass(check, tmp_path):
    (tmp_path / 'root/images/a').mkdir()
    cv2.imwrite(str(tmp_path / 'root/images/a..b.png'), np.zeros((6, 8, 3), np.uint8))
    for name in ('../images/2.png', 'a/../2.png', 'a..b.png', str(tmp_path / 'root/images/2.png')):
        assert check(coco(**images(file_name=name))) == []
    with pytest.raises(ValueError, match='may not leave it'):
        check(coco(**images(file_name='../2.png')), data_root=None,
              ann_file=str(tmp_path / 'root/train.json'),
              data_prefix=dict(img=str(tmp_path / 'root/images')))  # fmt: skip


def test_images_without_a_byte_are_named(check, tmp_path):
    (tmp_path / 'root/images/2.png').write_bytes(b'')
    with pytest.raises(
        ValueError, match=r'1 of the 2 images have no bytes; the first is .*/2\.png'
    ):
        check(coco())


def pickle_that_writes(canary, path):
    path.write_bytes(pickle.dumps(Call(open, str(canary), 'w')))
    return path


@pytest.mark.parametrize('name', ['train.pkl', 'train.PKL', 'train.pickle'])
@pytest.mark.parametrize(
    'settings',
    [
        {'type': 'BaseDetDataset', 'ann_file': '{}'},
        {'type': 'CocoDataset', 'ann_file': '{}'},
        {'proposal_file': '{}'},
        {'type': 'RepeatDataset', 'dataset': {'type': 'BaseDetDataset', 'ann_file': '{}'}},
        {'type': 'ConcatDataset', 'datasets': [{'type': 'BaseDetDataset', 'ann_file': '{}'}]},
        {'evaluator': {'type': 'CocoMetric', 'ann_file': '{}'}},
        {'evaluator': [{'type': 'CocoOccludedSeparatedMetric', 'occluded_ann': 'http://x.y/{}'}]},
    ],
)
def test_pickled_annotations_are_refused_before_they_are_read(check, tmp_path, settings, name):
    canary = tmp_path / 'canary'
    pickle_that_writes(canary, tmp_path / 'root' / name)
    filled = json.loads(json.dumps(settings).replace('{}', name))
    with pytest.raises(ValueError, match=rf'{name}: MMDetection would unpickle it.*run any code'):
        check(coco(), **filled)
    assert not canary.exists()


def test_files_that_are_written_may_be_pickles(check):
    assert check(coco(), evaluator=dict(type='DumpDetResults', out_file_path='x.pkl')) == []


def test_mmdetection_would_have_run_the_pickle(tmp_path):
    from mmdet.datasets import BaseDetDataset

    canary = tmp_path / 'canary'
    path = pickle_that_writes(canary, tmp_path / 'train.pkl')
    with pytest.raises((TypeError, ValueError)):
        BaseDetDataset(ann_file=str(path))
    assert canary.exists()
