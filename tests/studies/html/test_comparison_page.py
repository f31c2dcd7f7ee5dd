"""What a comparison's page says, and what it says it has not."""

import json

import pytest

from sortkd_det.studies.comparison import compare
from sortkd_det.studies.finished import Scored
from sortkd_det.studies.html.comparison_page import comparison_page


def section(page, title):
    return next(each for each in page.sections if each.title == title)


def top1(method, *values, group='', **places):
    return [
        Scored(method, seed, {'accuracy/top1': value}, group, **places)
        for seed, value in enumerate(values)
    ]


def page_of(runs, **options):
    metric, rows = compare(runs, {'kd': 'student'})
    return comparison_page(metric, rows, runs, 'test', **options)


def test_scores_differences_and_what_is_needed():
    page = page_of([*top1('student', 70, 72, 71), *top1('kd', 71, 73.1, 71.9)])
    table = section(page, 'Methods').parts[0]
    assert list(table.columns) == ['method', 'score', 'difference over seeds', 'seeds needed']
    (student, kd) = table.rows
    assert [cell.text for cell in student] == ['student', '71.00 ± 1.00 (3)', '–', '–']
    assert (kd[0].text, kd[0].note) == ('kd', 'compared with student')
    assert (kd[2].text, kd[2].note, kd[2].tone) == (
        '+1.00 [+0.75, +1.25] (3)',
        'beyond noise',
        'up',
    )
    assert kd[2].ends == pytest.approx((0.7516, 1.2484), abs=1e-4)
    assert page.sentences == [
        'kd − student over seeds +1.00 [+0.75, +1.25] (3): beyond the noise of seeds'
    ]


@pytest.mark.parametrize(
    ('values', 'note', 'tone'),
    [
        ((69, 71.1, 69.9), 'beyond noise', 'down'),
        ((69, 73, 72), 'within noise', ''),
        ((69, 71, 70), 'the same in all 3 seeds', ''),
    ],
)
def test_a_tone_is_for_what_is_beyond_noise(values, note, tone):
    runs = [*top1('student', 70, 72, 71), *top1('kd', *values)]
    cell = section(page_of(runs), 'Methods').parts[0].rows[1][2]
    assert (cell.note, cell.tone) == (note, tone)


def test_one_seed_has_no_interval():
    cell = section(page_of([*top1('student', 70), *top1('kd', 71)]), 'Methods').parts[0].rows[1][2]
    assert (cell.text, cell.ends, cell.note) == ('+1.00 (1)', None, 'one seed')


def test_columns_beside_are_those_of_a_preset():
    runs = [*top1('student', 70, group='a-b'), *top1('kd', 71, group='a-b')]
    beside = {'published': {('a-b', 'kd'): '73.33'}}
    table = section(page_of(runs, group='pair', beside=beside), 'Methods').parts[0]
    assert list(table.columns)[:4] == ['method', 'pair', 'score', 'published']
    assert [(row[3].text, row[3].value) for row in table.rows] == [('–', None), ('73.33', 73.33)]


def test_what_there_is_none_of_is_said():
    page = page_of([*top1('student', 70), *top1('kd', 71)])
    assert [each.title for each in page.sections] == ['Methods', 'Learning curves', 'Detections']
    assert 'there are none' in section(page, 'Learning curves').text
    assert 'there are none' in section(page, 'Detections').text


def logged(folder, values):
    path = folder / 'now/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(json.dumps(value) for value in values))
    return folder


def test_curves_are_means_of_seeds_at_the_steps_that_all_have(tmp_path):
    runs = []
    for seed, steps in ((0, (1, 2, 3)), (1, (1, 3))):
        values = [{'accuracy/top1': 10.0 * step + seed, 'step': step} for step in steps]
        folder = logged(tmp_path / str(seed), values)
        runs.append(Scored('student', seed, {'accuracy/top1': 30.0}, work_dir=folder))
    (chart,) = section(page_of(runs), 'Learning curves').parts
    (curve,) = chart.curves
    assert (curve.x, curve.y) == ([1, 3], [10.5, 30.5])
    assert (curve.low, curve.high) == ([10, 30], [11, 31])
    assert curve.note == 'mean of 2 seeds'


def test_long_curves_are_means_of_stretches(tmp_path):
    values = [dict(loss=1.0, loss_cls=float(step), step=step) for step in range(1, 1001)]
    run = Scored('student', 0, {'accuracy/top1': 30.0}, work_dir=logged(tmp_path, values))
    (chart,) = section(page_of([run]), 'Learning curves').parts
    (curve,) = chart.curves
    assert (curve.x[:2], curve.y[:2]) == ([10, 20], [5.5, 15.5])
    assert len(curve.x) == 100


def test_a_method_has_one_colour_in_all_charts(tmp_path):
    runs = []
    for method in ('student', 'kd'):
        entry = dict(loss=1.0, loss_cls=1.0, step=1)
        entry |= dict(loss_distill=1.0) if method == 'kd' else {}
        folder = logged(tmp_path / method, [entry, {'accuracy/top1': 30.0, 'step': 1}])
        runs.append(Scored(method, 0, {'accuracy/top1': 30.0}, work_dir=folder))
    charts = section(page_of(runs), 'Learning curves').parts
    looks = [{curve.name: curve.look for curve in chart.curves} for chart in charts]
    assert looks == [{'student': 0, 'kd': 1}, {'student': 0, 'kd': 1}, {'kd': 1}]


def test_variants_that_alternate_have_charts_and_columns_of_their_own(tmp_path):
    runs = []
    for seed in (0, 1):
        for group in ('short', 'long'):
            folder = logged(tmp_path / f'{group}{seed}', [{'accuracy/top1': 30.0, 'step': 1}])
            runs.append(Scored('kd', seed, {'accuracy/top1': 30.0}, group, work_dir=folder))
    page = page_of(runs)
    charts = section(page, 'Learning curves').parts
    assert [chart.title.split(':')[0] for chart in charts] == ['short', 'long']
    assert [chart.curves[0].note for chart in charts] == ['mean of 2 seeds'] * 2
    assert section(page, 'Methods').parts[0].columns[1] == 'variant'


def test_detections_are_those_of_the_lowest_seed(runs, comparison):
    text = section(comparison, 'Detections').text
    assert '8 of 12 images' in text
    assert 'seed 0' in text
    metric, rows = compare(runs[::-1], {}, draws=2)
    reverse = comparison_page(metric, rows, runs[::-1], 'detections', 8)
    one, other = (section(page, 'Detections').parts[0] for page in (comparison, reverse))
    assert other.sources == ['ground truth', *one.sources[:0:-1]]
    assert [p.boxes[1] for p in one.pictures] == [p.boxes[2] for p in other.pictures]


def test_a_class_table_has_differences_and_scores(comparison):
    table = section(comparison, 'Classes').parts[0]
    assert list(table.columns) == ['class', '<b>kd</b> − student', 'student', '<b>kd</b>']
    assert len(table.rows) == 3  # of the fourth class there is nothing to find
    assert all(row[1].ends for row in table.rows)


def test_a_class_table_names_its_metric(runs):
    metric, rows = compare(runs, {}, 'coco/bbox_mAP_75', draws=2)
    page = comparison_page(metric, rows, runs, 'detections', 8)
    assert section(page, 'Classes').parts[0].title == 'Each class, coco/bbox_mAP_75'
