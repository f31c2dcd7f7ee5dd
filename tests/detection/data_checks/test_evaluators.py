"""What a metric reads against what the data set reads."""

import json
import re

import pytest
from coco_files import VAL, coco, found, only


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
