import copy
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from sortkd_det.studies.demo.compare import find_differences, teacher_error
from sortkd_det.studies.demo.panels import draw_panels
from sortkd_det.studies.demo.results import (
    DemoError,
    Results,
    StepSettings,
    changed_settings,
    hold,
    write_json,
)
from sortkd_det.studies.demo.steps import Demo, DemoOptions
from sortkd_det.studies.demo.trainings import TRAININGS
from sortkd_det.studies.latency import measure_latencies
from sortkd_det.studies.scalars import RunScalars

REPO = Path(__file__).parents[3]


# -- results and settings ----------------------------------------------------


def test_results_survive_a_second_reading(tmp_path):
    results = Results(tmp_path / 'results.json')
    results.step('teacher').update(status='finished', metrics={'AP': 0.25})
    results.add_seconds('teacher', 12.34)
    again = Results(tmp_path / 'results.json')
    assert again.step('teacher') == results.step('teacher')
    assert again.data['seconds'] == 12.3
    assert again.step('student')['status'] == 'new'


def test_results_are_valid_json_whatever_was_measured(tmp_path):
    write_json(tmp_path / 'a.json', {'loss': [float('nan'), 1.0, float('inf')], 'note': 'ü'})
    assert json.loads((tmp_path / 'a.json').read_text()) == {'loss': [None, 1.0, None], 'note': 'ü'}


def test_a_write_that_fails_leaves_the_old_results(tmp_path):
    path = tmp_path / 'a.json'
    write_json(path, {'AP': 1})
    with pytest.raises(TypeError):
        write_json(path, {'AP': object()})
    assert json.loads(path.read_text()) == {'AP': 1}


@pytest.mark.parametrize('text', ['', '{"steps": ', '[]', '{"steps": 3}'])
def test_damaged_results_are_named(text, tmp_path):
    (tmp_path / 'results.json').write_text(text)
    with pytest.raises(DemoError, match=r'results.json holds no results of the demo.*delete it'):
        Results(tmp_path / 'results.json')


def test_changed_settings_are_named_by_their_path():
    old = {'a': {'b': 1, 'c': [1, {'d': 2}]}, 'same': 0, 'gone': 5}
    new = {'a': {'b': 2, 'c': [1, {'d': 3}]}, 'same': 0, 'new': 6}
    assert changed_settings(old, new) == [
        'a.b: 1 → 2',
        'a.c.1.d: 2 → 3',
        'gone: 5 → (absent)',
        'new: (absent) → 6',
    ]


def test_a_step_goes_on_with_its_own_settings_only(tmp_path):
    folder = tmp_path / 'teacher'
    settings = {'train_cfg': {'max_epochs': 12}, 'classes': ('a', 'b')}
    assert StepSettings(folder, settings).conflict() is None
    StepSettings(folder, settings).keep()
    assert StepSettings(folder, settings).begun
    assert StepSettings(folder, settings).conflict() is None
    other = StepSettings(folder, settings | {'train_cfg': {'max_epochs': 24}})
    assert other.conflict() == (
        f'{folder} was begun with other settings: train_cfg.max_epochs: 12 → 24'
    )


def test_a_training_that_is_not_of_the_demo_is_left_alone(tmp_path):
    (tmp_path / 'last_checkpoint').write_text('epoch_3.pth')
    conflict = StepSettings(tmp_path, {}).conflict()
    assert conflict == f'{tmp_path} holds a training that is not of the demo'


def test_a_folder_is_held_by_one_demo_at_a_time(tmp_path):
    with hold(tmp_path), pytest.raises(DemoError, match='another demo'), hold(tmp_path):
        pass
    with hold(tmp_path):
        pass


def test_a_child_that_is_left_behind_holds_the_folder(tmp_path):
    with hold(tmp_path) as held:
        child = subprocess.Popen(['sleep', '60'], pass_fds=(held,))
    try:
        with pytest.raises(DemoError, match='a training that one left behind'), hold(tmp_path):
            pass
    finally:
        child.kill()
        child.wait()
    with hold(tmp_path):
        pass


# -- the demo, with everything trained already ---------------------------------


class Untrained(Demo):
    """A demo whose trainings leave a file and whose tests leave numbers, in no time."""

    ran: list

    def _run(self, what, command, name, watch):
        self.ran.append(what)
        folder = Path(command[command.index('--work-dir') + 1])
        if what.startswith('training'):
            (folder / 'epoch_1.pth').write_bytes(what.encode())
            (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
        else:
            (folder / 'now').mkdir(parents=True)
            (folder / 'now/now.json').write_text('{"coco/bbox_mAP": 0.5}')

    def _compare(self):
        self.ran.append('comparing')
        numbers = dict(params=1e6, img_per_s=10.0)
        self.results.step('compare').update(
            status='finished',
            checkpoints=self._checkpoints(),
            models={training.title: numbers for training in TRAININGS},
            figures={'sorting': None},
            device='cpu',
            threads=2,
            num_timed=2,
            teacher_fg_error=0.25,
            differences=[dict(model='KD', baseline='student alone', difference='+1', verdict='so')],
        )


read_config = functools.cache(Config.fromfile)  # it takes half a second


@pytest.fixture
def run_untrained(tmp_path, monkeypatch):
    """Run a demo that trains nothing; returns what it had to do."""
    monkeypatch.setattr(sys, 'argv', ['tools/demo.py'])
    monkeypatch.setattr(Config, 'fromfile', lambda path: copy.deepcopy(read_config(path)))

    def run(**options):
        defaults = dict(num_train=3, num_val=2)
        demo = Untrained(
            DemoOptions(REPO, tmp_path / 'work', tmp_path / 'data', **(defaults | options))
        )
        demo.ran = []
        demo.run()
        return demo.ran

    return run


ALL = [f'{verb} {training.title}' for training in TRAININGS for verb in ('training', 'testing')] + [
    'comparing'
]


def test_finished_steps_are_skipped(run_untrained, capsys):
    assert run_untrained() == ALL
    assert 'KD - student alone: AP +1, so' in ' '.join(capsys.readouterr().out.split())
    assert run_untrained() == []
    shown = ' '.join(capsys.readouterr().out.split())
    assert 'SortKD 100 %; finished before' in shown
    assert 'SortKD 50.0' in shown
    assert 'wrong on 25.0 % of the samples of objects' in shown


def test_what_was_trained_is_not_trained_again_where_only_its_test_is_missing(
    run_untrained, tmp_path
):
    run_untrained()
    path = tmp_path / 'work/results.json'
    results = json.loads(path.read_text())
    results['steps']['kd']['status'] = 'trained'
    write_json(path, results)
    shutil.rmtree(tmp_path / 'work/kd/test')
    assert run_untrained() == ['testing KD', 'comparing']


def test_a_deleted_folder_is_trained_anew(run_untrained, tmp_path):
    run_untrained()
    shutil.rmtree(tmp_path / 'work/sortkd')
    assert run_untrained() == ['training SortKD', 'testing SortKD', 'comparing']


def test_other_settings_are_refused_and_named(run_untrained, tmp_path):
    run_untrained(teacher_epochs=3)
    message = 'work/teacher was begun with other settings: config.train_cfg.max_epochs: 3 → 4'
    with pytest.raises(DemoError, match=message):
        run_untrained(teacher_epochs=4)


def test_students_of_a_teacher_that_is_gone_are_refused(run_untrained, tmp_path):
    run_untrained()
    shutil.rmtree(tmp_path / 'work/teacher')
    with pytest.raises(DemoError, match=r'work/kd was begun with other settings: teacher_sha256'):
        run_untrained()


def test_options_out_of_range_are_refused(tmp_path):
    with pytest.raises(ValueError, match='--student-epochs must be a finite number > 0, got 0'):
        Demo(DemoOptions(REPO, tmp_path, tmp_path, student_epochs=0))


def test_a_training_that_fails_shows_the_end_of_its_log(tmp_path):
    demo = Demo(DemoOptions(tmp_path, tmp_path / 'work', tmp_path / 'data'))
    (tmp_path / 'broken.py').write_text('print("fine so far")\nraise SystemExit("no space left")')
    (tmp_path / 'work').mkdir()
    with hold(demo.work_dir) as demo._lock, pytest.raises(DemoError) as caught:
        demo._run('training it', ['broken.py'], 'it', lambda: None)
    message = str(caught.value)
    assert 'training it exited with 1' in message
    assert 'no space left' in message
    assert str(tmp_path / 'work/logs/it.log') in message
    assert 'goes on where it stopped' in message


def test_an_interrupt_ends_the_child(tmp_path):
    demo = Demo(DemoOptions(tmp_path, tmp_path / 'work', tmp_path / 'data'))
    (tmp_path / 'slow.py').write_text('import time\ntime.sleep(60)')

    def interrupt():
        raise KeyboardInterrupt

    with hold(demo.work_dir) as demo._lock, pytest.raises(KeyboardInterrupt):
        demo._run('training it', ['slow.py'], 'it', interrupt)
    with hold(demo.work_dir):  # nobody holds it any more
        pass


# -- what is compared ----------------------------------------------------------


def test_the_error_of_the_teacher_is_that_of_the_last_entries():
    train = {step: {'teacher/fg_top1': 0.0 if step <= 10 else 0.75} for step in range(1, 21)}
    assert teacher_error(RunScalars(train)) == pytest.approx(0.25)
    assert teacher_error(RunScalars({1: {'loss': 1.0}})) is None


def boxes_file(path, *scores):
    """Detections of two images with a box of 10 x 10 each: where a score is None, beside it."""
    found = [
        dict(image_id=1 + i, category_id=1, bbox=[50 * (s is None), 0, 10, 10], score=s or 0.5)
        for i, s in enumerate(scores)
    ]
    path.write_text(json.dumps(found))
    return path


def test_students_are_compared_with_the_one_before(tmp_path):
    images = [dict(id=i, file_name=f'{i}.png', width=99, height=99) for i in (1, 2)]
    box = dict(category_id=1, bbox=[0, 0, 10, 10], area=100, iscrowd=0)
    truth = dict(
        images=images,
        annotations=[dict(box, id=i, image_id=i) for i in (1, 2)],
        categories=[dict(id=1, name='circle')],
    )
    (tmp_path / 'truth.json').write_text(json.dumps(truth))
    files = {
        'alone': boxes_file(tmp_path / 'alone.json', 0.9, None),  # half of the boxes: AP 50.5
        'KD': boxes_file(tmp_path / 'kd.json', 0.9, 0.8),
        'SortKD': boxes_file(tmp_path / 'sortkd.json', 0.9, 0.8),
    }
    kd, sortkd = find_differences(files, tmp_path / 'truth.json')
    assert (kd['model'], kd['baseline']) == ('KD', 'alone')
    assert kd['difference'] == '+49.50 [+0.00, +100.00] (2)'
    assert 'within noise' in kd['verdict']
    assert (sortkd['model'], sortkd['baseline']) == ('SortKD', 'KD')
    assert sortkd['difference'] == '+0.00 [+0.00, +0.00] (2)'
    (tmp_path / 'kd.json').write_text('[]')  # as a model leaves it that detects nothing
    assert find_differences(files, tmp_path / 'truth.json') == []


class Sleeper(torch.nn.Module):
    def __init__(self, seconds, order):
        super().__init__()
        self.seconds, self.order = seconds, order

    def test_step(self, batch):
        assert 'seen' not in batch, 'each call needs a batch of its own'
        batch['seen'] = True
        self.order.append(self)
        time.sleep(self.seconds)


def test_latencies_are_measured_in_turns():
    order = []
    models = {'slow': Sleeper(0.02, order), 'fast': Sleeper(0.0, order)}
    latencies = measure_latencies(models, [{'index': index} for index in range(5)])
    assert [len(seconds) for seconds in latencies.values()] == [5, 5]
    assert min(latencies['slow']) >= 0.02
    assert np.median(latencies['fast']) < 0.02
    assert len(order) == 2 * (3 + 5)
    assert order[0] is order[3] is models['slow']
    assert order[1] is order[2] is models['fast']


def test_latencies_are_measured_no_longer_than_they_may():
    models = {'slow': Sleeper(0.05, []), 'fast': Sleeper(0.0, [])}
    latencies = measure_latencies(models, [{} for _ in range(50)], budget=0.01)
    assert [len(seconds) for seconds in latencies.values()] == [1, 1]


def test_panels_show_an_image_per_row_and_a_model_per_column(tmp_path):
    sample = DetDataSample()
    image = np.full((60, 80, 3), 128, dtype=np.uint8)
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    sample.set_metainfo(dict(img_path=str(tmp_path / 'image.png')))
    boxes = torch.tensor([[10.0, 10, 40, 40], [50, 20, 90, 55]])  # the second leaves the image
    labels = torch.tensor([0, 1])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=labels)
    sample.pred_instances = InstanceData(
        bboxes=boxes, labels=labels, scores=torch.tensor([0.9, 0.1])
    )
    meta = dict(classes=('circle', 'square'))
    path = tmp_path / 'panels.png'
    draw_panels({'teacher': [sample] * 2, 'student': [sample] * 2}, meta, path, scale=3)
    drawn = cv2.imread(str(path)).astype(int)
    assert drawn.shape[0] > 2 * 180
    assert drawn.shape[1] > 3 * 240
    assert (np.ptp(drawn, axis=2) > 100).sum() > 1000  # coloured frames on grey


def test_panels_of_models_with_unlike_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match='every model needs the same images'):
        draw_panels({'a': [DetDataSample()], 'b': []}, {}, tmp_path / 'panels.png')


# -- from end to end -----------------------------------------------------------


def demo_command(tmp_path):
    places = ['--work-dir', tmp_path / 'work', '--data-root', tmp_path / 'data']
    return [
        *('tools/demo.py', *places, '--teacher-epochs', '3', '--student-epochs', '1'),
        *('--num-train', '8', '--num-val', '2'),
    ]


@pytest.mark.slow
def test_the_demo_runs_from_end_to_end_and_then_has_nothing_to_do(tmp_path, run_python):
    command = demo_command(tmp_path)
    environment = {'OMP_NUM_THREADS': '1'}  # two would spin, waiting for what runs beside them
    interrupted = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=REPO,
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 600
    while not (tmp_path / 'work/teacher/last_checkpoint').exists():
        assert time.monotonic() < deadline
        assert interrupted.poll() is None
        time.sleep(0.2)
    interrupted.terminate()  # as Ctrl-C, which not every shell lets through
    _, errors = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    assert 'interrupted; what was finished is kept, and teacher goes on' in errors
    assert 'tools/demo.py --work-dir' in errors

    first = run_python(*command, env=environment, timeout=1200)
    assert 'SortKD' in first.stdout
    assert 'resumed epoch: ' in (tmp_path / 'work/logs/teacher.log').read_text()
    results = json.loads((tmp_path / 'work/results.json').read_text())
    assert [results['steps'][t.name]['status'] for t in TRAININGS] == ['finished'] * 4
    assert results['data']['num_val'] == 2
    compared = results['steps']['compare']
    assert set(compared['models']) == {t.title for t in TRAININGS}
    assert compared['models']['teacher']['params'] > compared['models']['SortKD']['params'] > 0
    assert compared['models']['KD']['params'] == compared['models']['SortKD']['params']
    assert all(model['img_per_s'] > 0 for model in compared['models'].values())
    for figure in compared['figures'].values():
        if figure is not None:
            assert cv2.imread(str(tmp_path / 'work' / figure)).std() > 0

    second = run_python(*command, env=environment)
    assert second.stdout.count('finished before') == 5
    assert json.loads((tmp_path / 'work/results.json').read_text())['steps'] == results['steps']
