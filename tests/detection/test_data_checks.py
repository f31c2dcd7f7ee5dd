"""What is found in COCO files, images and metrics before a run."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config

from sortkd_det.detection.data_checks import check_annotations, check_data, check_teacher

CLASSES = ('cat', 'dog')
TRAIN, VAL = ('train_dataloader',), ('val_dataloader',)


def coco(num_images=3, first_id=1, **changes):
    """Annotations of images with two boxes each; ``changes`` go into each annotation."""
    images = [
        {'id': first_id + i, 'file_name': f'{i}.png', 'width': 80, 'height': 60}
        for i in range(num_images)
    ]
    annotations = [
        {
            'id': number,
            'image_id': first_id + (number - 1) // 2,
            'category_id': 7 + number % 2,
            'bbox': [10 + (number - 1) % 6, 5, 40, 30],
            'area': 1200,
        }
        | changes
        for number in range(1, 2 * num_images + 1)
    ]
    categories = [{'id': 8, 'name': 'cat'}, {'id': 7, 'name': 'dog'}]
    return {'images': images, 'annotations': annotations, 'categories': categories}


@pytest.fixture
def root(tmp_path):
    """A folder of five images."""
    (tmp_path / 'images').mkdir()
    for i in range(5):
        cv2.imwrite(str(tmp_path / f'images/{i}.png'), np.zeros((60, 80, 3), np.uint8))
    return tmp_path


@pytest.fixture
def part(root):
    """Write a file, and return the config of a data set of it."""

    def make(content=None, name='data.json', **settings):
        (root / name).write_text(json.dumps(coco() if content is None else content))
        return dict(
            type='CocoDataset',
            data_root=str(root),
            ann_file=name,
            data_prefix=dict(img='images/'),
            metainfo=dict(classes=CLASSES),
            **settings,
        )

    return make


def found(dataset, evaluator=None, loader=TRAIN, **options):
    """Messages of what is found."""
    return [each.message for each in report_of(dataset, evaluator, loader, **options).findings]


def report_of(dataset, evaluator=None, loader=TRAIN, **options):
    cfg = {loader[0]: dict(dataset=dataset)}
    if evaluator is not None:
        cfg[loader[0].replace('dataloader', 'evaluator')] = evaluator
    return check_data(Config(cfg), loader, **options)


def only(messages):
    (message,) = messages
    return message


# -- what is left over ------------------------------------------------------------------


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
        del config['type']
        dataset = CocoDataset(**config)
        handed = [dataset.get_data_info(i)['instances'] for i in range(len(dataset))]
        used = [sum(not box['ignore_flag'] for box in boxes) for boxes in handed]
        assert count.used_images == len(dataset)
        assert (count.used_boxes, count.empty_images) == (sum(used), used.count(0)), settings


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


# -- entries and names ------------------------------------------------------------------


@pytest.mark.parametrize('value', ['0', '1', [1], {}])
def test_a_crowd_flag_that_mmdetection_would_misread_is_an_error(part, value):
    assert 'have an iscrowd that is no number' in only(found(part(coco(iscrowd=value))))
    for absent in (coco(), coco(iscrowd=None), coco(iscrowd=False), coco(iscrowd=0.0)):
        assert found(part(absent)) == []


def test_a_category_of_the_same_name_without_boxes_is_named(part):
    content = coco()
    content['categories'].insert(0, {'id': 0, 'name': 'dog', 'supercategory': 'none'})
    message = only(found(part(content)))
    assert '2 of the 3 categories share their name' in message
    assert 'no annotation is of the category with the id 0' in message
    assert 'take it out of "categories"' in message
    content['annotations'][0]['category_id'] = 0  # both are used: which is meant?
    assert 'give each a name of its own' in only(found(part(content)))


def test_backslashes_in_names_are_told(part):
    content = coco()
    content['images'][1]['file_name'] = 'images\\1.png'
    message = only(found(part(content)))
    assert re.search(
        r'1 of the 3 images have a file_name with backslashes.*images\\1\.png', message
    )
    assert 'write them with /' in message


def test_a_backslash_that_is_part_of_a_name_passes(part, root):
    shutil.copy(root / 'images/1.png', root / 'images/a\\b.png')
    content = coco()
    content['images'][1]['file_name'] = 'a\\b.png'
    assert found(part(content)) == []


def test_missing_images_are_counted_if_the_data_set_would_read_them(part):
    content = coco(6)  # of which the last has no file
    assert re.search(r'1 of the 6 images do not exist; .*/5\.png;', only(found(part(content))))
    content['annotations'] = content['annotations'][:10]
    left_out = only(found(part(content, filter_cfg=dict(filter_empty_gt=True))))
    assert '1 of the 6 images have no box of a class' in left_out


def test_sizes_are_compared_with_the_images(part, root):
    content = coco()
    content['images'][2].update(width=60, height=80)
    message = found(part(content))[0]
    assert '1 of the 3 images that were looked at have another width or height than it' in message
    assert '2.png, 60 × 80 in the file and 80 × 60 in truth' in message


def test_turned_images_are_told_apart(part, root):
    from PIL import Image

    image = Image.new('RGB', (80, 60))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(root / 'images/1.png', exif=exif)
    assert cv2.imread(str(root / 'images/1.png')).shape[:2] == (80, 60)
    assert 'EXIF orientation' in only(found(part()))


def test_a_few_sizes_are_looked_at_before_a_run_and_all_on_demand(part, root):
    content = coco(100)
    for image in content['images']:
        image['file_name'] = '0.png'
    content['images'][1].update(width=79)
    assert found(part(content)) == []
    assert '1 of the 100 images that were looked at' in only(found(part(content), every_size=True))


# -- metrics ----------------------------------------------------------------------------


@pytest.fixture
def judge(part, root):
    """What is found where the data is ``own`` and the metric reads ``other``."""

    def run(other, own=None, loader=VAL, dataset=None, wrap=lambda metric: metric, **settings):
        data = part(own, test_mode=True) if dataset is None else dataset
        (root / 'other.json').write_text(json.dumps(other))
        metric = dict(type='CocoMetric', ann_file=str(root / 'other.json'), **settings)
        return found(data, wrap(metric), loader)

    return run


CURE = r'set {}_evaluator\.ann_file to .*data\.json, which the {}_dataloader reads'


@pytest.mark.parametrize('loader', [VAL, ('test_dataloader',)])
def test_a_metric_of_the_same_content_passes(judge, loader):
    assert judge(coco(), loader=loader) == []
    shuffled = coco()
    shuffled['annotations'] = shuffled['annotations'][::-1]
    shuffled['images'] = shuffled['images'][::-1]
    rounded = coco()
    for annotation in rounded['annotations']:
        annotation['bbox'] = [value + 0.3 for value in annotation['bbox']]
        annotation['id'] += 40
    with_folder = coco()
    for image in with_folder['images']:
        image['file_name'] = f'images/{image["file_name"]}'
    for content in (shuffled, rounded, with_folder):
        assert judge(content, loader=loader) == []


def test_ids_of_other_images_are_named_with_both_files(judge):
    for loader in (VAL, ('test_dataloader',)):
        message = judge(coco(first_id=5), loader=loader)[0]
        assert re.search(r'other\.json: 3 of the 3 images of .*data\.json', message)
        assert 'have another id, file_name or size in it' in message
        assert 'the one with the id 1: 0.png, 80 × 60 there, and no such id here' in message
        split = loader[0].split('_')[0]
        assert re.search(CURE.format(split, split), message)


def test_the_same_ids_of_other_images_are_named(judge):
    """As of a file of another split that numbers its images from 1 too: mAP was 0 in silence."""
    other = coco()
    for image in other['images']:
        image['file_name'] = f'train_{image["file_name"]}'
    assert '3 of the 3 images' in judge(other)[0]
    resized = coco()
    for image in resized['images']:
        image['width'] = 81
    assert '0.png, 80 × 60 there, 0.png, 81 × 60 here' in judge(resized)[0]


def test_ground_truth_that_differs_is_named(judge):
    moved, fewer, relabelled, crowds, twice = (coco() for _ in range(5))
    moved['annotations'][2]['bbox'] = [1, 5, 40, 30]
    fewer['annotations'].pop(2)
    relabelled['annotations'][2]['category_id'] = 7
    crowds['annotations'][2]['iscrowd'] = 1
    twice['annotations'][2] = {**twice['annotations'][3], 'id': 99}
    for content in (moved, fewer, relabelled, crowds, twice):
        message = only(judge(content))
        assert re.search(r'1 of the 3 images of .*data\.json, .* have other boxes in it', message)
        assert 'the first is 1.png, id 2' in message
    unannotated = coco()
    del unannotated['annotations']  # as COCO's own test files
    assert judge(coco(), own=unannotated) == []


def test_other_categories_and_another_order_are_named(judge):
    others, order, more = coco(), coco(), coco()
    others['categories'][0]['name'] = 'cow'
    order['categories'] = order['categories'][::-1]
    more['categories'].append({'id': 1, 'name': 'cow'})
    assert re.search(r"1 of the 2 classes .* not in it: \['cat'\].*" + CURE.format('val', 'val'),
                     judge(others)[0])  # fmt: skip
    assert re.search('another order.*' + CURE.format('val', 'val'), judge(order)[0])
    assert judge(more) == []
    assert judge(order, sort_categories=True)[0]  # 7, 8: dog, cat
    other_ids = coco()
    other_ids['categories'][1]['id'] = 70
    for annotation in other_ids['annotations']:
        annotation['category_id'] = {7: 70}.get(annotation['category_id'], 8)
    assert judge(other_ids) == []  # MMDetection goes by the names
    other_ids['categories'] = other_ids['categories'][::-1]
    assert 'another order' in judge(other_ids)[0]


def test_classwise_ap_of_categories_that_are_not_sorted_is_an_error(judge):
    """MMDetection prints the AP of each under the name of another."""
    assert 'AP of each class under the name of another' in only(judge(coco(), classwise=True))
    ascending = coco()
    ascending['categories'] = [{'id': 7, 'name': 'cat'}, {'id': 8, 'name': 'dog'}]
    assert judge(ascending, own=ascending, classwise=True) == []


def test_a_metric_file_that_is_not_there_or_no_boxes_names_the_setting(judge, part):
    config = dict(type='CocoMetric', ann_file='nowhere/val.json')
    message = only(found(part(), config, VAL))
    assert 'val_evaluator.ann_file is nowhere/val.json, which does not exist' in message
    assert 'data.json' in message
    (message,) = found(part(), [dict(type='VOCMetric'), config], VAL)
    assert 'val_evaluator.1.ann_file is nowhere' in message
    captions = coco()
    del captions['categories']
    captions['annotations'] = [{'id': 1, 'image_id': 1, 'caption': 'a cat'}]
    assert re.search(r'other\.json \(val_evaluator\.ann_file\) is not a COCO annotation file',
                     only(judge(captions)))  # fmt: skip


def test_each_metric_of_a_list_is_looked_at(judge):
    right = dict(type='CocoMetric', metric='proposal', format_only=True)
    message = judge(coco(first_id=5), wrap=lambda wrong: [right, wrong])[0]
    assert 'set val_evaluator.1.ann_file to' in message
    message = judge(coco(first_id=5), wrap=lambda wrong: dict(metrics=[right, right, wrong]))[0]
    assert 'set val_evaluator.metrics.2.ann_file to' in message


def test_each_part_of_a_concatenation_is_looked_at(judge, part):
    whole = coco(5)
    first, second = coco(2), coco(5)
    second['images'] = second['images'][2:]
    second['annotations'] = second['annotations'][4:]
    parts = [part(first, 'first.json'), part(second, 'second.json')]
    concat = dict(type='ConcatDataset', datasets=parts)
    wrapped = dict(type='MultiImageMixDataset', dataset=concat, pipeline=[])
    assert judge(whole, dataset=concat) == []
    assert judge(whole, dataset=wrapped) == []
    other = coco(5)
    other['images'][4]['file_name'] = 'x.png'
    assert re.search(r'1 of the 3 images of .*second\.json', judge(other, dataset=concat)[0])
    # Both number their images from 1: detections of two images would be those of one.
    twice = dict(type='ConcatDataset', datasets=[parts[0], part(first, 'again.json')])
    assert '2 ids come twice' in only(judge(first, dataset=twice))


def test_a_metric_without_a_file_needs_truth_in_the_samples(part):
    metric = dict(type='CocoMetric', metric='bbox')
    message = only(found(part(), metric, VAL))
    assert 'has no ann_file, and the samples of the val_dataloader bring no ground truth' in message
    assert 'set val_evaluator.ann_file to the annotation file of the data set' in message
    packed = part()
    packed['pipeline'] = [dict(type='PackDetInputs', meta_keys=('img_id', 'instances'))]
    assert found(packed, metric, VAL) == []
    assert found(part(), {**metric, 'format_only': True}, VAL) == []


def test_an_evaluator_of_several_data_sets_has_a_metric_for_each(part, root):
    parts = [part(coco(2), 'a.json'), part(coco(3), 'b.json')]
    concat = dict(type='ConcatDataset', datasets=parts)

    def evaluator(*names):
        metrics = [dict(type='CocoMetric', ann_file=str(root / name)) for name in names]
        prefixes = ['a', 'b']
        return dict(type='MultiDatasetsEvaluator', metrics=metrics, dataset_prefixes=prefixes)

    assert found(concat, evaluator('a.json', 'b.json'), VAL) == []
    assert (
        'not among those of the val_dataloader'
        in found(concat, evaluator('b.json', 'a.json'), VAL)[0]
    )


def test_images_that_the_metric_counts_and_the_data_leaves_out_are_told(judge, part, root):
    message = only(judge(coco(5)))
    assert '2 of the 5 images are not among those of the val_dataloader' in message
    own = dict(type='CocoMetric', ann_file=str(root / 'data.json'))
    left, counted = found(part(indices=2, test_mode=True), own, VAL)
    assert '1 of the 3 images are left out by indices; ' in left
    assert '1 of the 3 images are left out by filter_cfg or indices' in counted
    assert 'counts their boxes as missed' in counted
    repeated = dict(type='RepeatDataset', times=2, dataset=part(test_mode=True))
    assert 'a wrapper repeats them' in only(found(repeated, own, VAL))


@pytest.mark.parametrize(('key', 'said'), [(0, 'have the id 0'), ('7f', 'have an id that is text')])
def test_ids_that_are_given_anew_are_told(part, root, key, said):
    content = coco()
    content['annotations'][1]['id'] = key
    own = dict(type='CocoMetric', ann_file=str(root / 'data.json'))
    assert f'1 of the 6 boxes {said}' in only(found(part(content), own, VAL))
    assert found(part(content)) == []


@pytest.mark.parametrize('key', ['x', 2**63 + 1])
def test_ids_of_images_that_numpy_would_mix_up_are_refused(part, root, key):
    content = coco()
    content['images'][1]['id'] = key
    for annotation in content['annotations'][2:4]:
        annotation['image_id'] = key
    own = dict(type='CocoMetric', ann_file=str(root / 'data.json'))
    assert 'ids of images that are not all text, or all numbers below' in only(
        found(part(content), own, VAL)
    )
    text = json.loads(re.sub(r'("(?:image_)?id": )(\d+)', r'\1"\2"', json.dumps(coco())))
    for box in text['annotations']:
        box['category_id'] = str(box['category_id'])
    assert 'have an id that is text' in only(found(part(text), own, VAL))


def test_a_metric_without_ground_truth_would_say_minus_1(part, root):
    own = dict(type='CocoMetric', ann_file=str(root / 'data.json'))
    message = only(found(part(coco(iscrowd=1), test_mode=True), own, VAL))
    assert 'val_evaluator.ann_file would say -1 for each AP' in message
    only_format = dict(own, format_only=True, outfile_prefix='x')
    assert found(part(coco(iscrowd=1), test_mode=True), only_format, VAL) == []


def test_ignored_ground_truth_counts_in_the_metric(part, root):
    own = dict(type='CocoMetric', ann_file=str(root / 'data.json'))
    message = only(found(part(coco(ignore=1), test_mode=True), own, VAL))
    assert '6 of the 6 boxes have "ignore" set, and pycocotools counts them' in message


# -- the report -------------------------------------------------------------------------


def test_all_is_found_at_once_and_the_first_error_raised(part, capsys):
    content = coco(iscrowd='0')
    content['images'][0]['width'] = 0
    cfg = Config(dict(train_dataloader=dict(dataset=part(content))))
    with pytest.raises(ValueError, match=r'1 of the 3 images .*\(1 more in the table above\)$'):
        check_annotations(cfg, TRAIN)
    table = capsys.readouterr().err
    assert table.count('| error') == 2
    assert 'iscrowd' in table


def test_one_error_alone_needs_no_table_and_a_warning_no_error(part, capsys):
    cfg = Config(dict(train_dataloader=dict(dataset=part(coco(iscrowd='0')))))
    with pytest.raises(ValueError, match=r'iscrowd .*; expected 0 or 1$'):
        check_annotations(cfg, TRAIN)
    assert capsys.readouterr().err == ''
    content = coco()
    content['annotations'][0]['iscrowd'] = 1
    cfg.train_dataloader.dataset = part(content)
    check_annotations(cfg, TRAIN)
    assert re.search(r'\| warning \| .*crowds', capsys.readouterr().err)
    cfg.train_dataloader.dataset = part()
    check_annotations(cfg, TRAIN)
    assert capsys.readouterr() == ('', '')


def test_a_file_that_several_name_is_reported_once(part, root):
    data = part(coco(iscrowd='0'))
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=data),
            val_dataloader=dict(dataset=data),
            val_evaluator=dict(type='CocoMetric', ann_file=str(root / 'data.json')),
        )
    )
    assert len(check_data(cfg, TRAIN + VAL).findings) == 1


def test_classes_of_the_teacher_are_compared(part, tmp_path):
    cfg = Config(dict(train_dataloader=dict(dataset=part())))

    def said(classes, path=tmp_path / 'teacher.pth'):
        meta = {} if classes is None else {'dataset_meta': {'classes': classes}}
        torch.save({'state_dict': {'w': torch.zeros(1)}, 'meta': meta}, tmp_path / 'teacher.pth')
        report = check_data(cfg, TRAIN)
        check_teacher(cfg, dict(config='x', checkpoint=str(path)), report)
        return [each.message for each in report.findings]

    assert said(CLASSES) == []
    assert 'in another order' in only(said(CLASSES[::-1]))
    assert "only the teacher has ['cow']" in only(said(('cat', 'cow')))
    assert 'names no classes' in only(said(None))
    assert 'of the teacher does not exist' in only(said(CLASSES, Path('no/such.pth')))
    assert said(CLASSES[::-1], 'https://example.org/teacher.pth') == []


@pytest.mark.parametrize('taught', [False, True])
def test_the_tool_prints_what_there_is_and_what_was_found(
    taught, toy_data, random_teacher, monkeypatch, capsys
):
    repo = Path(__file__).parents[2]
    spec = importlib.util.spec_from_file_location('check_data', repo / 'tools/check_data.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(repo)
    teacher = ['--teacher', 'configs/toy/teacher.py', '--teacher-checkpoint', str(random_teacher)]
    options = [*teacher, '--method', 'sortkd'] if taught else []
    arguments = ['configs/toy/student.py', '--data-root', str(toy_data), *options]
    tool.main(tool.get_parser().parse_args(arguments))
    said = capsys.readouterr().out
    assert re.search(r'train_dataloader .*train\.json \| 12 of 12 ', said)
    assert re.search(r'test_dataloader .*val\.json +\| 6 of 6 ', said)
    assert said.rstrip().endswith('nothing found that is wrong')
