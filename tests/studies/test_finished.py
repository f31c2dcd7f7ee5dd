"""Runs are found by where they lie, and told apart from what only looks like one."""

import json

import pytest

from sortkd_det.studies.finished import Scored, in_points, main_metric, read_finished

CONFIG = """
randomness = dict(seed={seed})
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
val_dataloader = dict(dataset=dict(type='CocoDataset', ann_file='{images}.json'))
val_evaluator = dict(type='CocoMetric', ann_file='{root}/{images}.json')
test_dataloader = dict(dataset=dict(
    type='CocoDataset', ann_file='test.json', metainfo=dict(classes=('cat', 'dog'))))
test_evaluator = dict(type='CocoMetric', ann_file='{root}/test.json')
"""


def write_run(folder, seed, ap=(0.1, 0.2), tested=None, images='val', root='data', epoch=2):
    """What MMEngine leaves of a run that logs an AP after each epoch."""
    logs = folder / '20261101_120000/vis_data'
    logs.mkdir(parents=True)
    (logs / 'config.py').write_text(CONFIG.format(seed=seed, images=images, root=root))
    entries = [{'coco/bbox_mAP': value, 'step': step} for step, value in enumerate(ap, start=1)]
    (logs / 'scalars.json').write_text('\n'.join(map(json.dumps, entries)))
    if tested is not None:
        test = folder / 'test/20261101_130000'
        (test / 'vis_data').mkdir(parents=True)
        config = f"load_from = '{folder}/epoch_{epoch}.pth'\n"
        (test / 'vis_data/config.py').write_text(config)
        (test / '20261101_130000.json').write_text(json.dumps({'coco/bbox_mAP': tested}))
    return folder


def scores(runs):
    return [(run.method, run.seed, run.metrics['coco/bbox_mAP']) for run in runs]


def test_seeds_are_read_from_the_place_that_the_pattern_gives_them(tmp_path):
    for seed in (0, 12):
        write_run(tmp_path / f'gfl_kd_{seed}', seed, ap=(0.1, 0.2 + seed / 100))
    (tmp_path / 'gfl_kd_0.log').write_text('')
    runs, scored_on = read_finished([f'kd={tmp_path}/gfl_kd_{{seed}}'])
    assert scores(runs) == [('kd', 0, 0.2), ('kd', 12, 0.32)]
    assert scored_on == 'last validation'


@pytest.mark.parametrize('name', ['seed_{}', 'seed{}'])
def test_a_folder_of_methods_and_seeds_is_read_whole(tmp_path, name):
    for method, seed in (('kd', 0), ('kd', 1), ('student', 0)):
        write_run(tmp_path / method / name.format(seed), seed)
    assert scores(read_finished([str(tmp_path)])[0]) == [
        ('kd', 0, 0.2),
        ('kd', 1, 0.2),
        ('student', 0, 0.2),
    ]


def test_a_run_alone_has_the_seed_of_its_config(tmp_path):
    write_run(tmp_path / 'run', 7)
    assert scores(read_finished([f'kd={tmp_path}/run'])[0]) == [('kd', 7, 0.2)]


def test_all_runs_are_scored_on_the_test_or_all_on_the_validation(tmp_path):
    write_run(tmp_path / 'kd/seed_0', 0, tested=0.5)
    write_run(tmp_path / 'student/seed_0', 0, tested=0.4)
    runs, scored_on = read_finished([str(tmp_path)])
    assert scores(runs) == [('kd', 0, 0.5), ('student', 0, 0.4)]
    assert scored_on == 'test'
    write_run(tmp_path / 'student/seed_1', 1)
    runs, scored_on = read_finished([str(tmp_path)])
    assert scores(runs) == [('kd', 0, 0.2), ('student', 0, 0.2), ('student', 1, 0.2)]
    assert scored_on == 'last validation (no test of student of seed 1)'


def test_a_test_of_a_checkpoint_from_the_midst_of_a_training_is_refused(tmp_path):
    run = write_run(tmp_path / 'kd', 0, tested=0.5, epoch=1)
    with pytest.raises(
        ValueError, match=r'its test is of epoch_1\.pth, and its training ends at 2'
    ):
        read_finished([f'kd={run}'])
    config = next(run.glob('test/*/vis_data/config.py'))
    config.write_text(f"load_from = '{run}/best_coco_bbox_mAP_epoch_1.pth'\n")
    assert scores(read_finished([f'kd={run}'])[0]) == [('kd', 0, 0.5)]


def test_a_test_from_before_the_last_training_is_refused(tmp_path):
    """A run that was begun anew in its folder, with other settings, and not tested again."""
    run = write_run(tmp_path / 'kd', 0, tested=0.5)
    assert scores(read_finished([f'kd={run}'])[0]) == [('kd', 0, 0.5)]
    (run / '20261101_120000').rename(run / '20261102_090000')
    with pytest.raises(ValueError, match=r'run at 20261101_130000, and its training went on at 20'):
        read_finished([f'kd={run}'])


def test_settings_of_the_training_are_read(tmp_path):
    run = write_run(tmp_path / 'kd', 0)
    assert read_finished([f'kd={run}'])[0][0].settings == {'train_cfg.max_epochs': '2'}


def test_a_training_that_was_made_longer_is_judged_by_its_end(tmp_path):
    run = write_run(tmp_path / 'kd', 0)
    later = run / '20261101_130000/vis_data'
    later.mkdir(parents=True)
    config = CONFIG.format(seed=0, images='val', root='data').replace(
        'max_epochs=2', 'max_epochs=3'
    )
    (later / 'config.py').write_text(config)
    (later / 'scalars.json').write_text(json.dumps({'coco/bbox_mAP': 0.3, 'step': 3}))
    assert scores(read_finished([f'kd={run}'])[0]) == [('kd', 0, 0.3)]


def test_a_damaged_test_is_named(tmp_path):
    run = write_run(tmp_path / 'kd', 0, tested=0.5)
    path = next(run.glob('test/*/*.json'))
    for content in ('{"coco/bbox', '[]'):
        path.write_text(content)
        with pytest.raises(ValueError, match=f'{path} holds no metrics of a test'):
            read_finished([f'kd={run}'])


def test_sets_of_one_name_in_two_folders_are_told_apart(tmp_path):
    roots = tmp_path / 'data', tmp_path / 'copy'
    for root in roots:
        root.mkdir()
        (root / 'test.json').write_text('{"images": []}')
    places = [
        f'{root.name}={write_run(tmp_path / "runs" / root.name, 0, tested=0.5, root=root)}'
        for root in roots
    ]
    assert len(read_finished(places)[0]) == 2
    (roots[1] / 'test.json').write_text('{"images": [{"id": 1}]}')
    with pytest.raises(ValueError, match=r'different images: .*data/test\.json and .* differ'):
        read_finished(places)


def test_detections_lie_beside_the_test_and_are_not_taken_for_its_metrics(tmp_path):
    run = write_run(tmp_path / 'run', 0, tested=0.5)
    assert read_finished([f'kd={run}'])[0][0].detections is None
    (run / 'test/detections.bbox.json').write_text('[]')
    found = read_finished([f'kd={run}'])[0][0]
    assert found.detections == run / 'test/detections.bbox.json'
    assert str(found.annotations) == 'data/test.json'
    assert found.metrics == {'coco/bbox_mAP': 0.5}
    assert found.classes == ('cat', 'dog')


def test_what_is_no_finished_run_of_its_seed_is_refused(tmp_path):
    write_run(tmp_path / 'kd_0', 0, ap=(0.1,))
    with pytest.raises(ValueError, match=r'its last validation is of step 1, .* ends at 2'):
        read_finished([f'kd={tmp_path}/kd_{{seed}}'])
    write_run(tmp_path / 'sortkd_3', 4)
    with pytest.raises(ValueError, match=r'named as seed 3, .* has randomness\.seed = 4'):
        read_finished([f'sortkd={tmp_path}/sortkd_{{seed}}'])
    write_run(tmp_path / 'none', None)
    with pytest.raises(ValueError, match=r'has no seed: its config has no randomness\.seed'):
        read_finished([f'kd={tmp_path}/none'])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='is no work dir of a run'):
        read_finished([f'kd={tmp_path}/empty'])
    with pytest.raises(FileNotFoundError, match='nothing is there with a number'):
        read_finished([f'kd={tmp_path}/nowhere_{{seed}}'])
    with pytest.raises(FileNotFoundError, match='is no folder of runs'):
        read_finished([str(tmp_path / 'empty')])
    with pytest.raises(FileNotFoundError, match='nowhere does not exist'):
        read_finished([f'kd={tmp_path}/nowhere'])
    write_run(tmp_path / 'matrix/kd/seed0', 0)
    assert len(read_finished([f'{tmp_path}/matrix'])[0]) == 1
    write_run(tmp_path / 'matrix/long/kd/seed0', 0)
    with pytest.raises(ValueError, match=r'others in folders below, .*long/kd/seed0, which would'):
        read_finished([f'{tmp_path}/matrix'])


def test_runs_that_cannot_be_paired_are_refused(tmp_path):
    one, other = write_run(tmp_path / 'a', 0), write_run(tmp_path / 'b', 0, images='other')
    with pytest.raises(ValueError, match=r'scored on different images: .*val\.json.*other\.json'):
        read_finished([f'student={one}', f'kd={other}'])
    with pytest.raises(ValueError, match='kd has two runs of seed 0'):
        read_finished([f'kd={one}', f'kd={other}'])
    (tmp_path / 'x.bbox.json').write_text('[]')
    with pytest.raises(ValueError, match='give one kind'):
        read_finished([f'student={one}', f'kd={tmp_path}/x.bbox.json'])


def test_metrics_are_points_of_100_or_refused():
    assert in_points(Scored('kd', 0, {'coco/bbox_mAP': 0.25}), 'coco/bbox_mAP') == 25
    assert in_points(Scored('kd', 0, {'accuracy/top1': 25.0}), 'accuracy/top1') == 25
    for value in (-1, 1.5, float('nan')):
        with pytest.raises(ValueError, match=r'kd/seed0: coco/bbox_mAP must be from 0 to 1, got'):
            in_points(Scored('kd', 0, {'coco/bbox_mAP': value}), 'coco/bbox_mAP')
    with pytest.raises(ValueError, match='kd/seed0 has no coco/bbox_mAP; it has a, b'):
        in_points(Scored('kd', 0, {'b': 1, 'a': 1}), 'coco/bbox_mAP')
    assert main_metric({'loss': 0.1, 'accuracy/top5': 9, 'accuracy/top1': 3}) == 'accuracy/top1'
    with pytest.raises(ValueError, match='name one of loss with --metric'):
        main_metric({'loss': 0.1})
