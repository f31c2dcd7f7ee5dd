"""Rows of a comparison from runs and from files of detections, and tools/compare.py."""

import dataclasses
import json
import re
import warnings

import numpy as np
import pytest
from drawn_boxes import NUM_CLASSES, NUM_IMAGES, draw_boxes
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sortkd_det.studies.coco_bootstrap import COCO_METRICS
from sortkd_det.studies.comparison import compare, read_baselines, save, show
from sortkd_det.studies.finished import Scored


def top1(method, *values, group=''):
    return [
        Scored(method, seed, {'accuracy/top1': value}, group=group)
        for seed, value in enumerate(values)
    ]


@pytest.fixture
def annotations(tmp_path):
    """A file of annotations; the first has the id 0, which pycocotools never finds."""
    truths, _ = draw_boxes(np.random.default_rng(0))
    content = dict(
        images=[dict(id=image) for image in range(NUM_IMAGES)],
        annotations=[{**truth, 'id': number} for number, truth in enumerate(truths)],
        categories=[dict(id=k, name=f'class {k}') for k in range(1, NUM_CLASSES + 1)],
    )
    path = tmp_path / 'annotations.json'
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def detections(tmp_path):
    """Write detections of these images: a share of them, so that few are worse than many."""

    def write(name, share):
        _, found = draw_boxes(np.random.default_rng(0))
        found = found[: int(share * len(found))]
        path = tmp_path / f'{name}.bbox.json'
        path.write_text(json.dumps(found))
        return path

    return write


def coco_stats(annotations, detections):
    """AP, AP50, AP75, and that of small, medium and large objects, as CocoMetric has them."""
    content = json.loads(annotations.read_text())
    for truth in content['annotations']:
        truth['id'] += 1
    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes(json.loads(detections.read_text())), 'bbox')
    evaluation.params.maxDets = [100, 300, 1000]
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[:6]


def coco_ap(annotations, detections):
    return coco_stats(annotations, detections)[0]


def test_methods_are_compared_with_their_baseline_seed_by_seed():
    runs = [*top1('student', 70, 72, 71), *top1('kd', 71, 73.1, 71.9), *top1('dkd', 70, 74)]
    metric, (student, kd, dkd) = compare(runs, {'kd': 'student', 'dkd': 'kd'})
    assert metric == 'accuracy/top1'
    assert student.over_seeds is None
    assert student.verdicts() == []
    assert str(kd.over_seeds) == '+1.00 [+0.75, +1.25] (3)'
    assert kd.verdicts() == [
        'kd − student over seeds +1.00 [+0.75, +1.25] (3): beyond the noise of seeds'
    ]
    assert dkd.over_seeds.number == 2  # seeds 0 and 1
    assert dkd.over_seeds.mean == pytest.approx(-0.05)
    assert 'dkd − kd' in dkd.verdicts()[0]
    assert 'within noise; to show a difference of 0.5 takes about' in dkd.verdicts()[0]


def test_runs_are_compared_within_their_group():
    runs = [*top1('student', 50), *top1('kd', 60), *top1('student', 70, group='long')]
    runs += top1('kd', 71, group='long')
    rows = compare(runs, {'kd': 'student'})[1]
    found = [(row.group, row.method, row.over_seeds and row.over_seeds.mean) for row in rows]
    assert found == [
        ('', 'student', None),
        ('', 'kd', 10),
        ('long', 'student', None),
        ('long', 'kd', 1),
    ]


def test_baselines_are_one_for_all_and_exceptions():
    methods = ['student', 'kd', 'sortkd', 'sortdkd', 'dkd']
    assert read_baselines(['kd', 'sortdkd=dkd', 'dkd='], methods) == {
        'student': 'kd',
        'sortkd': 'kd',
        'sortdkd': 'dkd',
        'dkd': None,
    }


@pytest.mark.parametrize('entries', [['studnet'], ['student', 'kdd=student'], ['kd=studnet']])
def test_a_baseline_that_is_no_method_is_refused(entries):
    with pytest.raises(ValueError, match=r'there is no method (studnet|kdd); expected one of'):
        read_baselines(entries, ['student', 'kd'])


def test_methods_without_a_common_seed_are_said_not_to_be_compared():
    runs = [Scored('student', 0, {'accuracy/top1': 70}), Scored('kd', 1, {'accuracy/top1': 80})]
    row = compare(runs, {'kd': 'student'})[1][1]
    assert row.verdicts() == ['kd − student: not compared, for they have no seed in common']


def test_names_that_look_like_markup_are_shown(capsys):
    runs = [*top1('[/red]kd', 70), *top1('a[bold]b', 71), *top1('a:cat:b', 72)]
    show(compare(runs, {'a[bold]b': '[/red]kd'})[1], 't')
    said = capsys.readouterr().out
    assert '[/red]kd' in said
    assert 'a[bold]b' in said
    assert 'a:cat:b' in said
    assert 'by class' not in said  # there are none


def test_what_is_shown_are_columns_of_what_there_is_classes_and_verdicts(capsys):
    runs = of_classes('student', (0.2, 0.4)) + of_classes('kd', (0.25, 0.4))
    rows = compare(runs, {'kd': 'student'})[1]
    show(rows, 'title', beside={'paper': {('', 'kd'): '36.1'}})
    said = capsys.readouterr().out
    assert 'over images' not in said
    assert re.search(r'kd .*32\.50 \(1\) .* 36\.1 .*to student: \+2\.50 \(1\)', said)
    assert 'kd by class' in said
    assert 'student by class' not in said
    assert said.count('\n│ cat ') == 1
    assert 'kd − student over seeds +2.50 (1): one seed tells nothing of chance' in said


def test_categories_that_are_no_classes_of_the_data_set_do_not_count(annotations, detections):
    found = [each for each in json.loads(detections('all', 1).read_text())]
    path = detections('two', 1)
    path.write_text(json.dumps([each for each in found if each['category_id'] < 3]))
    runs = [Scored('kd', 0, detections=path, classes=('class 2', 'class 1'))]
    row = compare(runs, {}, annotations=annotations)[1][0]
    assert list(row.classes) == ['class 1', 'class 2']
    assert row.scores[0] == pytest.approx(
        np.mean([each.scores[0] for each in row.classes.values()])
    )
    assert row.scores[0] > 100 * coco_ap(annotations, path) + 1  # of which a third class has none


def test_annotations_without_images_or_classes_are_refused(annotations, detections):
    runs = [Scored('kd', 0, detections=detections('all', 1), classes=('bird',))]
    with pytest.raises(ValueError, match='0 categories of the classes bird: there is nothing'):
        compare(runs, {}, annotations=annotations)
    content = {**json.loads(annotations.read_text()), 'images': []}
    annotations.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='has 0 images'):
        compare([Scored('kd', 0, detections=runs[0].detections)], {}, annotations=annotations)


def test_annotations_without_objects_are_refused(annotations, detections):
    content = json.loads(annotations.read_text())
    for each in content['annotations']:
        each['iscrowd'] = 1  # which is nothing to find
    annotations.write_text(json.dumps(content))
    runs = [Scored('kd', 0, detections=detections('all', 1))]
    with pytest.raises(ValueError, match=r'no object of the classes class 1, .*nothing to find'):
        compare(runs, {}, annotations=annotations)
    annotations.write_text(json.dumps({**content, 'annotations': []}))
    with pytest.raises(ValueError, match='has no object of the classes class 1'):
        compare(runs, {}, annotations=annotations)


def test_classes_of_one_name_are_told_apart(annotations, detections):
    runs = [Scored('kd', 0, detections=detections('all', 1))]
    expected = compare(runs, {}, annotations=annotations)[1][0].classes
    content = json.loads(annotations.read_text())
    content['categories'][0]['name'] = 'class 2'
    annotations.write_text(json.dumps(content))
    found = compare(runs, {}, annotations=annotations)[1][0].classes
    renamed = ['class 2 (id 1)', 'class 2 (id 2)', *list(expected)[2:]]
    assert list(found) == renamed
    for name, row in zip(renamed, expected.values(), strict=True):
        assert found[name].scores == row.scores


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (dict(category_id=0), r'has the category ids \[0\], and there are \[1, 2, 3, 4\]'),
        (dict(score=float('nan')), 'boxes or scores that are no finite numbers'),
        (dict(bbox=[0, 0, float('inf'), 1]), 'boxes or scores that are no finite numbers'),
        (dict(score='0.5'), 'boxes or scores that are no finite numbers'),
        (dict(score=None), 'boxes or scores that are no finite numbers'),
        (dict(bbox=[0, 0, 1]), 'boxes of more or fewer than four numbers'),
    ],
)
def test_detections_that_pycocotools_would_misread_are_refused(
    annotations, detections, change, says
):
    path = detections('some', 1)
    first, *others = json.loads(path.read_text())
    path.write_text(json.dumps([{**first, **change}, *others]))
    with pytest.raises(ValueError, match=f'{path.name} holds no detections of .*{says}'):
        compare([Scored('kd', 0, detections=path)], {}, annotations=annotations)


def test_images_without_any_detection_are_told(annotations, detections):
    path = detections('some', 1)
    found = [each for each in json.loads(path.read_text()) if each['image_id'] > 1]
    path.write_text(json.dumps(found))
    with pytest.warns(
        UserWarning, match=rf'no run has a detection in 2 of the {NUM_IMAGES} images'
    ):
        compare([Scored('kd', 0, detections=path)], {}, annotations=annotations)


def test_classes_without_any_detection_are_told(annotations, detections):
    """A student of some of the file's classes: CocoMetric leaves the others out, a file cannot."""
    path = detections('some', 1)
    found = [each for each in json.loads(path.read_text()) if each['category_id'] != 2]
    path.write_text(json.dumps(found))
    said = rf'no run has a detection of 1 of the {NUM_CLASSES} classes of .*json: class 2\. Each'
    run = Scored('kd', 0, detections=path)
    with pytest.warns(UserWarning, match=said):
        (row,) = compare([run], {}, annotations=annotations)[1]
    assert row.scores[0] == pytest.approx(100 * coco_ap(annotations, path))
    content = json.loads(annotations.read_text())
    content['categories'] = [each for each in content['categories'] if each['id'] != 2]
    annotations.write_text(json.dumps(content))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        (alone,) = compare([run], {}, annotations=annotations)[1]
    assert alone.scores[0] == pytest.approx(100 * coco_ap(annotations, path))
    assert alone.scores[0] > row.scores[0]


def test_detections_give_ap_and_intervals_over_the_same_images(annotations, detections):
    few, many = detections('few', 0.4), detections('many', 1)
    runs = [Scored('few', 0, detections=few), Scored('many', 0, detections=many)]
    _, (row_few, row_many) = compare(runs, {'many': 'few'}, draws=500, annotations=annotations)
    aps = [100 * coco_ap(annotations, path) for path in (few, many)]
    assert [row_few.scores[0], row_many.scores[0]] == pytest.approx(aps, abs=1e-10)
    without = compare(runs, {'many': 'few'}, annotations=annotations)[1][1]
    assert without.scores == row_many.scores
    assert without.over_images is None
    over_images = row_many.over_images
    assert over_images.mean == pytest.approx(aps[1] - aps[0], abs=1e-10)
    assert 0 < over_images.low < over_images.mean < over_images.high
    assert (over_images.number, over_images.unit) == (NUM_IMAGES, 'image')
    # The last class has nothing to find.
    assert list(row_many.classes) == ['class 1', 'class 2', 'class 3']
    differences = [row.over_images.mean for row in row_many.classes.values()]
    assert np.mean(differences) == pytest.approx(over_images.mean)


def test_over_images_the_difference_is_the_mean_of_the_seeds_that_both_have(
    annotations, detections
):
    paths = {share: detections(f'share {share}', share) for share in (0.3, 0.5, 0.7, 1.0)}
    shares = {
        ('few', 0): 0.3,
        ('few', 1): 0.5,
        ('many', 0): 0.7,
        ('many', 1): 1.0,
        ('many', 2): 0.3,
    }
    runs = [Scored(name, seed, detections=paths[share]) for (name, seed), share in shares.items()]
    row = compare(runs, {'many': 'few'}, draws=50, annotations=annotations)[1][1]
    ap = {share: 100 * coco_ap(annotations, path) for share, path in paths.items()}
    expected = (ap[0.7] - ap[0.3] + ap[1.0] - ap[0.5]) / 2
    assert row.over_images.mean == pytest.approx(expected, abs=1e-10)
    assert row.over_images.low < expected < row.over_images.high
    assert row.over_seeds.mean == pytest.approx(expected, abs=1e-10)
    assert sorted(row.scores) == [0, 1, 2]


@pytest.mark.parametrize(('index', 'metric'), enumerate(COCO_METRICS))
def test_detections_give_what_cocometric_logs(annotations, detections, index, metric):
    few, many = detections('few', 0.4), detections('many', 1)
    logged = [coco_stats(annotations, path)[index] for path in (few, many)]
    runs = [
        Scored(name, 0, {metric: round(value, 3)}, detections=path, annotations=annotations)
        for name, path, value in zip(('few', 'many'), (few, many), logged, strict=True)
    ]
    _, rows = compare(runs, {'many': 'few'}, metric, draws=100)
    assert [row.scores[0] for row in rows] == pytest.approx([100 * value for value in logged])
    over_images = rows[1].over_images
    assert over_images.mean == pytest.approx(100 * (logged[1] - logged[0]))
    assert over_images.low <= over_images.mean <= over_images.high
    assert metric.endswith('_s') or over_images.low < over_images.high  # none is small
    wrong = [dataclasses.replace(run, metrics={metric: 0.9}) for run in runs]
    with pytest.raises(
        ValueError, match=rf'have a {metric} of \d+\.\d\d, and its test logged 90.0'
    ):
        compare(wrong, {}, metric, draws=2)


@pytest.mark.parametrize(('index', 'metric'), [*enumerate(COCO_METRICS)][:2])
def test_of_an_image_and_class_as_many_detections_count_as_in_cocometric(
    annotations, detections, index, metric
):
    path = detections('many', 1)
    found = json.loads(path.read_text())
    first = next(box for box in found if box['category_id'] == 1)
    # A hundred false ones come before it, so that it is the first that COCO's AP does not see.
    false = {**first, 'bbox': [900, 900, 5, 5], 'score': 1.0}
    truths = json.loads(annotations.read_text())['annotations']
    own = [t for t in truths if t['image_id'] == first['image_id'] and t['category_id'] == 1]
    hits = [{**first, 'bbox': truth['bbox'], 'score': 0.99} for truth in own]
    path.write_text(json.dumps([*[false] * 100, *hits, *found]))
    (row,) = compare([Scored('kd', 0, detections=path)], {}, metric, annotations=annotations)[1]
    assert row.scores[0] == pytest.approx(100 * coco_stats(annotations, path)[index])


def test_intervals_over_images_are_shown(annotations, detections, capsys):
    few, many = detections('few', 0.4), detections('many', 1)
    runs = [Scored('few', 0, detections=few), Scored('many', 0, detections=many)]
    rows = compare(runs, {'many': 'few'}, draws=20, annotations=annotations)[1]
    show(rows, 'title')
    said = capsys.readouterr().out
    assert 'over images, 95% interval' in said
    assert f'{rows[1].over_images}' in said


def test_detections_give_no_other_metric(annotations, detections):
    run = Scored('kd', 0, detections=detections('some', 1))
    with pytest.raises(ValueError, match=r'bbox_mAP_75, .* not coco/segm_mAP'):
        compare([run], {}, 'coco/segm_mAP', annotations=annotations)


def test_equal_detections_do_not_differ_on_any_draw(annotations, detections):
    one, other = detections('one', 1), detections('other', 1)
    runs = [Scored('one', 0, detections=one), Scored('other', 0, detections=other)]
    row = compare(runs, {'other': 'one'}, draws=20, annotations=annotations)[1][1]
    assert str(row.over_images) == f'+0.00 [+0.00, +0.00] ({NUM_IMAGES})'
    assert row.over_images.is_noise


def test_detections_that_are_not_those_of_the_test_are_refused(annotations, detections, tmp_path):
    path = detections('some', 1)
    ap = coco_ap(annotations, path)
    places = dict(detections=path, annotations=annotations)

    def run(logged):
        return compare([Scored('kd', 0, {'coco/bbox_mAP': logged}, **places)], {}, draws=5)[1]

    assert run(round(ap, 3))[0].scores[0] == pytest.approx(100 * ap)
    with pytest.raises(ValueError, match=r'kd/seed0: its detections .* they are not of one test'):
        run(round(ap, 3) + 0.002)
    other = tmp_path / 'other.bbox.json'
    other.write_text(json.dumps([dict(image_id=99, category_id=1, bbox=[0, 0, 1, 1], score=1)]))
    with pytest.raises(ValueError, match=r'other\.bbox\.json holds no detections of the images of'):
        compare([Scored('kd', 0, detections=other)], {}, draws=5, annotations=annotations)
    with pytest.raises(ValueError, match='name it with --annotations'):
        compare([Scored('kd', 0, detections=path)], {}, draws=5)
    with pytest.raises(ValueError, match=r'is no file of COCO annotations'):
        compare([Scored('kd', 0, detections=path)], {}, draws=5, annotations=path)


def of_classes(method, *rows, **others):
    """Runs of seeds 0, 1, …, each with the AP of a cat and of a dog, as CocoMetric logs them."""
    return [
        Scored(
            method,
            seed,
            {
                'coco/bbox_mAP': round((cat + dog) / 2, 3),
                'coco/cat_precision': cat,
                'coco/dog_precision': dog,
                'coco/owl_precision': float('nan'),  # there is none in these images
                'coco/emu_precision': None,  # nor of these; so JSON writes it
                **others,
            },
        )
        for seed, (cat, dog) in enumerate(rows)
    ]


def test_classes_are_compared_by_what_was_logged_where_there_are_no_detections():
    runs = of_classes('student', (0.2, 0.4), (0.3, 0.5)) + of_classes('kd', (0.25, 0.4), (0.4, 0.5))
    metric, rows = compare(runs, {'kd': 'student'})
    assert metric == 'coco/bbox_mAP'
    assert [list(row.classes) for row in rows] == [['cat', 'dog']] * 2
    cat = rows[1].classes['cat']
    assert cat.scores == pytest.approx({0: 25.0, 1: 40.0})
    assert cat.over_seeds.mean == pytest.approx(7.5)
    assert cat.over_images is None
    assert rows[1].classes['dog'].over_seeds.mean == pytest.approx(0.0)
    assert rows[0].classes['cat'].over_seeds is None


def test_classes_are_compared_within_their_group():
    runs = of_classes('student', (0.2, 0.4)) + of_classes('kd', (0.25, 0.4))
    longer = of_classes('student', (0.6, 0.7)) + of_classes('kd', (0.9, 0.8))
    runs += [dataclasses.replace(run, group='long') for run in longer]
    rows = {(row.group, row.method): row for row in compare(runs, {'kd': 'student'})[1]}
    assert rows['', 'kd'].classes['cat'].scores == pytest.approx({0: 25.0})
    assert rows['', 'kd'].classes['cat'].over_seeds.mean == pytest.approx(5.0)
    assert rows['long', 'kd'].classes['cat'].over_seeds.mean == pytest.approx(30.0)
    assert rows['long', 'student'].classes['dog'].scores == pytest.approx({0: 70.0})


def test_a_class_that_a_run_has_not_logged_is_left_out():
    runs = of_classes('student', (0.2, 0.4)) + of_classes('kd', (0.25, 0.4))
    del runs[1].metrics['coco/dog_precision']
    runs[1].metrics['coco/bbox_mAP'] = 0.25
    student, kd = compare(runs, {'kd': 'student'})[1]
    assert list(student.classes) == ['cat', 'dog']
    assert list(kd.classes) == ['cat']


def test_a_class_that_many_draws_lack_has_no_interval_over_images(annotations, detections):
    content = json.loads(annotations.read_text())
    # Objects of the first class in one image alone, which a third of the draws are without.
    image = next(t['image_id'] for t in content['annotations'] if t['category_id'] == 1)
    content['annotations'] = [
        t for t in content['annotations'] if t['category_id'] != 1 or t['image_id'] == image
    ]
    annotations.write_text(json.dumps(content))
    runs = [
        Scored(name, 0, detections=detections(name, share))
        for name, share in (('few', 0.4), ('many', 1))
    ]
    classes = compare(runs, {'many': 'few'}, draws=50, annotations=annotations)[1][1].classes
    assert classes['class 1'].over_images is None
    assert classes['class 1'].over_seeds is not None
    assert classes['class 2'].over_images.number == NUM_IMAGES


def test_classes_of_another_metric_are_not_taken_for_this_one():
    masks = of_classes('student', (0.2, 0.4), **{'coco/bbox_mAP': 0.35, 'coco/segm_mAP': 0.3})
    assert compare(masks, {})[1][0].classes == {}
    assert list(compare(masks, {}, 'coco/segm_mAP')[1][0].classes) == ['cat', 'dog']
    mixed = masks + of_classes('kd', (0.2, 0.4))
    assert compare(mixed, {'kd': 'student'})[1][1].classes == {}


def test_a_comparison_is_saved_with_all_its_numbers(tmp_path):
    metric, rows = compare([*top1('student', 70, 72), *top1('kd', 71, 74)], {'kd': 'student'})
    save(tmp_path / 'out.json', metric, rows, dict(scored_on='test'))
    saved = json.loads((tmp_path / 'out.json').read_text())
    assert (saved['metric'], saved['scored_on']) == ('accuracy/top1', 'test')
    kd = saved['rows'][1]
    assert kd['scores'] == {'0': 71, '1': 74}
    assert kd['mean'] == 72.5
    assert kd['over_seeds']['mean'] == 1.5
    assert kd['over_seeds']['is_noise'] is True


def test_the_tool_prints_tables_and_verdicts(run_python, annotations, detections, tmp_path):
    for method, share in (('student', 0.4), ('kd', 1)):
        for seed in (0, 1):
            detections(f'{method}_{seed}', share - 0.1 * seed)
    places = [f'{method}={tmp_path}/{method}_{{seed}}.bbox.json' for method in ('student', 'kd')]
    options = ['--annotations', annotations, '--draws', 50, '--out', tmp_path / 'out.json']
    report = tmp_path / 'new/report.html'
    options += ['--report', report, '--report-images', 2]
    said = run_python('tools/compare.py', *places, *options).stdout
    assert re.search(r'kd .* ± .* \(2\).*to student: \+\d', said)
    assert re.search(rf'kd − student over images .* \({NUM_IMAGES}\): beyond the noise', said)
    assert 'kd by class' in said
    assert len(json.loads((tmp_path / 'out.json').read_text())['rows']) == 2
    assert f'wrote {report}' in said
    text = report.read_text()
    assert f'2 of {NUM_IMAGES} images' in text
    assert str(tmp_path) not in text


def test_a_report_that_cannot_be_written_is_refused_before_the_work(run_python, tmp_path):
    done = run_python('tools/compare.py', 'kd=nowhere', '--report', tmp_path, check=False)
    assert done.returncode == 1
    assert f'--report: {tmp_path} is a folder; name a file' in done.stderr
    done = run_python('tools/compare.py', 'kd=nowhere', '--out', tmp_path, check=False)
    assert done.returncode == 1
    assert f'--out: {tmp_path} is a folder; name a file' in done.stderr


def test_a_draw_alone_is_refused_and_a_method_alone_lacks_nothing(
    run_python, annotations, detections
):
    path = detections('some', 1)
    tool = ['tools/compare.py', f'kd={path}', '--annotations', annotations]
    done = run_python(*tool, '--draws', 1, check=False)
    assert done.returncode == 1
    assert 'error: --draws 1 has no interval' in done.stderr
    said = run_python(*tool, '--draws', 2).stdout
    assert re.search(r'kd .* \(1\)', said)
    assert 'no interval over images' not in said
