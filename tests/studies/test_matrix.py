"""The plan and the runs of a matrix, of classifiers and detectors alike."""

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from small_runs import assert_same

from sortkd_det.checkpoints import load_checkpoint
from sortkd_det.studies.commands import held
from sortkd_det.studies.matrix import Matrix, Task, _first_of_each, part_of

REPO = Path(__file__).parents[2]
CIFAR = REPO / 'configs/cifar100.py'
PAIR = 'resnet32x4-resnet8x4'


def test_the_plan_has_seeds_outermost():
    tasks = Matrix(CIFAR, Path('work'), REPO).plan([PAIR], ['student', 'kd'], [3, 5])
    assert [task.name for task in tasks] == [
        f'{PAIR}/{method}/seed{seed}' for seed in (3, 5) for method in ('student', 'kd')
    ]
    assert Task(None, 'kd', 0).name == 'kd/seed0'


def test_what_does_not_exist_is_named_before_anything_runs():
    with pytest.raises(FileNotFoundError, match=r"no method 'kdd' in .*; there are: ctkd, cwd"):
        Matrix(CIFAR, Path('work'), REPO).plan([PAIR], ['kdd'], [0])
    with pytest.raises(ValueError, match=r"--pair must be one of resnet56-resnet20.*got 'a-b'"):
        Matrix(CIFAR, Path('work'), REPO).plan(['a-b'], ['kd'], [0])
    with pytest.raises(ValueError, match='seeds must differ'):
        Matrix(CIFAR, Path('work'), REPO).plan([PAIR], ['kd'], [0, 0])


def test_variants_are_groups_with_settings_of_their_own(tmp_path):
    short = ['train_cfg.max_epochs=4']
    matrix = Matrix(
        CIFAR, tmp_path, REPO, ['log_level=ERROR'], variants={'short': short, 'long': ()}
    )
    tasks = matrix.plan([PAIR], ['student', 'kd'], [0])
    names = 'short/student', 'short/kd', 'student', 'long/kd'  # long has no settings of its own
    assert [task.name for task in tasks] == [f'{PAIR}/{name}/seed0' for name in names]
    assert tasks[1].group == f'{PAIR}/short'
    assert matrix.config_of(tasks[1]).train_cfg.max_epochs == 4
    assert matrix.command('train', tasks[1])[-3:] == [
        'randomness.seed=0',
        'log_level=ERROR',
        *short,
    ]
    assert matrix.command('train', tasks[3])[-2:] == ['randomness.seed=0', 'log_level=ERROR']


def test_settings_of_the_distillation_are_for_runs_that_have_one(tmp_path):
    options = ['student_weight=0.5', 'train_cfg.max_epochs=2']
    matrix = Matrix(CIFAR, tmp_path, REPO, options)
    student, kd = matrix.plan([PAIR], ['student', 'kd'], [0])
    assert matrix.command('train', kd)[-2:] == options
    for command in (matrix.command('train', student), matrix.command('test', kd, 'x.pth')):
        assert 'train_cfg.max_epochs=2' in command
        assert 'student_weight=0.5' not in command
    with pytest.raises(ValueError, match='would be without effect: --methods names the student'):
        matrix.plan([PAIR], ['student'], [0])


def test_the_teacher_is_for_methods_and_not_for_the_student_alone(tmp_path):
    matrix = Matrix('x.py', tmp_path, REPO, teacher='t.py', teacher_checkpoint='t.pth')
    taught = matrix.command('train', Task(None, 'kd', 0))
    assert {'--method=kd', '--teacher=t.py', '--teacher-checkpoint=t.pth'} <= set(taught)
    alone = matrix.command('train', Task(None, 'student', 0))
    tested = matrix.command('test', Task(None, 'kd', 0), 'epoch_1.pth')
    assert not any(word.startswith(('--method', '--teacher')) for word in alone + tested)


@pytest.mark.parametrize('gpus', [0, 1, 2])
def test_the_command_line_of_several_gpus_has_a_launcher_and_training_scales_its_rate(
    tmp_path, gpus
):
    matrix = Matrix('x.py', tmp_path, REPO, ['a=1'], data_root='data', gpus=gpus)
    task = Task(None, 'kd', 5)
    launcher, scaled, start = [], [], [sys.executable]
    if gpus > 1:
        start += ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
        launcher, scaled = ['--launcher', 'pytorch'], ['--auto-scale-lr']
    options = ['--cfg-options', 'randomness.seed=5', 'a=1']
    folder = str(tmp_path / 'kd/seed5')
    assert matrix.command('train', task) == [
        *start, 'tools/train.py', 'x.py', '--work-dir', folder, '--method=kd',
        '--data-root', 'data', '--resume', *launcher, *scaled, *options,
    ]  # fmt: skip
    assert matrix.command('test', task, 'epoch_3.pth') == [
        *start, 'tools/test.py', 'x.py', 'epoch_3.pth', '--work-dir', f'{folder}/test',
        '--data-root', 'data', *launcher, *options,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ('visible', 'submit', 'gpus', 'jobs', 'expected'),
    [
        (None, '', 1, 3, ['0', '1', '2']),
        (None, '', 0, 2, ['0', '1']),
        ('4,5,7,9', '', 2, 2, ['4,5', '7,9']),
        ('4,5,7,9', 'srun', 2, 3, ['', '', '']),
        (None, '', 2, 3, '--jobs 3 and --gpus 2 need 6 GPUs, there are 4'),
    ],
)
def test_each_job_sees_gpus_of_its_own(
    tmp_path, monkeypatch, visible, submit, gpus, jobs, expected
):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 4)
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    matrix = Matrix('x.py', tmp_path, REPO, gpus=gpus, submit=submit)
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            matrix._groups_of_gpus(jobs)
    else:
        assert matrix._groups_of_gpus(jobs) == expected


def test_parts_share_the_tasks():
    tasks = [Task(None, 'kd', seed) for seed in range(5)]
    parts = [part_of(tasks, f'{index}/2') for index in (1, 2)]
    assert [[task.seed for task in part] for part in parts] == [[0, 2, 4], [1, 3]]


def test_variants_of_the_distillation_have_one_student_between_them(tmp_path):
    variants = {
        'T1': ['method.0.loss.temperature=1'],
        'T4': ['method.0.loss.temperature=4', 'student_weight=0.5'],
        'long': ['train_cfg.max_epochs=300'],
    }
    matrix = Matrix(CIFAR, tmp_path, REPO, ['train_cfg.val_interval=2'], variants=variants)
    tasks = matrix.plan([PAIR], ['student', 'kd'], [0])
    assert [task.name.removeprefix(f'{PAIR}/') for task in tasks] == [
        *('student/seed0', 'T1/kd/seed0', 'student/seed0', 'T4/kd/seed0'),
        *('long/student/seed0', 'long/kd/seed0'),
    ]
    assert [part_of(tasks, f'{part}/2') for part in (1, 2)] == [
        [tasks[0], tasks[2], tasks[3], tasks[5]],  # the first, third and fifth of the runs
        [tasks[1], tasks[4]],
    ]
    path = tmp_path / PAIR / 'student/seed0/result.json'
    path.parent.mkdir(parents=True)
    options = {'cfg_options': ['train_cfg.val_interval=2'], 'data_root': None, 'gpus': 1}
    path.write_text(json.dumps({'options': options, 'metrics': {'accuracy/top1': 50.0}}))
    found = [(run.group, run.method, run.seed) for run in matrix.scored(tasks)]
    assert found == [(f'{PAIR}/{variant}', 'student', 0) for variant in ('T1', 'T4')]


def test_a_shared_teacher_is_one_file_of_a_pair_and_seed(tmp_path):
    matrix = Matrix(CIFAR, tmp_path, REPO, share_teacher=True)
    student, kd, sortkd = matrix.plan([PAIR], ['student', 'kd', 'sortkd'], [3])
    setting = f'teacher.cache={tmp_path}/{PAIR}/teacher_seed3.sqlite'
    for task in (kd, sortkd):
        assert setting in matrix.command('train', task)
        assert setting not in matrix.command('test', task, 'x.pth')
    assert setting not in matrix.command('train', student)
    hook = matrix.config_of(kd).custom_hooks[0]
    assert hook.teacher.cache == setting.partition('=')[2]


def test_tasks_that_share_a_teacher_stay_together_and_take_turns(tmp_path):
    matrix = Matrix(CIFAR, tmp_path, REPO, share_teacher=True)
    tasks = matrix.plan([PAIR], ['student', 'kd', 'dkd'], [0, 1, 2])
    parts = [part_of(tasks, f'{part}/2', share_teacher=True) for part in (1, 2)]
    assert [{task.seed for task in part} for part in parts] == [{0, 2}, {1}]
    for jobs, expected in ((1, '000111222'), (2, '010101222'), (3, '012012012')):
        assert ''.join(str(task.seed) for task in _first_of_each(tasks, jobs)) == expected


@pytest.mark.parametrize(
    ('config', 'methods', 'folder', 'says'),
    [
        (
            'toy/student.py',
            ['kd'],
            'work',
            r'--share-teacher is for classifiers, and .* a detector',
        ),
        ('cifar100.py', ['student'], 'work', 'without effect: --methods names the student alone'),
        ('cifar100.py', ['kd'], 'my work', r'--work-dir .*my work: .* take no spaces'),
    ],
)
def test_what_cannot_be_shared_is_refused_by_name(tmp_path, config, methods, folder, says):
    teacher = {} if config == 'cifar100.py' else dict(teacher='resnet', teacher_checkpoint='x.pth')
    teacher = {key: str(REPO / 'configs/toy/teacher.py') for key in teacher}
    matrix = Matrix(
        REPO / 'configs' / config, tmp_path / folder, REPO, share_teacher=True, **teacher
    )
    with pytest.raises(ValueError, match=says):
        matrix.plan([PAIR] if config == 'cifar100.py' else [], methods, [0])


def test_results_of_something_else_or_other_options_are_refused(tmp_path):
    task = Task(None, 'kd', 0)
    path = tmp_path / 'kd/seed0/result.json'
    path.parent.mkdir(parents=True)
    matrix = Matrix(CIFAR, tmp_path, REPO)
    assert matrix.result(task) is None
    for text in ('[]', '{', '{"options": {}, "metrics": {}}'):
        path.write_text(text)
        with pytest.raises(ValueError, match='holds no result of this tool'):
            matrix.result(task)
    options = {'cfg_options': ['train_cfg.max_epochs=1'], 'data_root': None, 'gpus': 1}
    path.write_text(json.dumps({'options': options, 'metrics': {'accuracy/top1': 50.0}}))
    with pytest.raises(ValueError, match=r'other options: found .*max_epochs=1.*expected'):
        matrix.result(task)
    same = Matrix(CIFAR, tmp_path, REPO, options['cfg_options'])
    (scored,) = same.scored([task, Task(None, 'kd', 1)])
    assert (scored.method, scored.seed, scored.metrics) == ('kd', 0, {'accuracy/top1': 50.0})


def test_a_result_of_another_config_of_the_same_name_is_refused(tmp_path):
    config, weights = tmp_path / 'tiny.py', tmp_path / 'teacher.pth'
    config.write_text(f"_base_ = '{REPO / 'configs/clothing/student.py'}'")
    weights.write_bytes(b'1')
    task = Task(None, 'kd', 0)

    def matrix():
        return Matrix(config, tmp_path, REPO, teacher='resnet14', teacher_checkpoint=str(weights))

    made_of = matrix().contents(task)
    path = tmp_path / 'kd/seed0/result.json'
    path.parent.mkdir(parents=True)
    options = dict(cfg_options=[], data_root=None, gpus=1, teacher='resnet14')
    options['teacher_checkpoint'] = str(weights)
    content = dict(options=options, metrics={'accuracy/top1': 50.0}, made_of=made_of)
    path.write_text(json.dumps(content))
    assert matrix().result(task)
    weights.write_bytes(b'2')
    with pytest.raises(ValueError, match='run with another config, weights or annot'):
        matrix().result(task)
    weights.write_bytes(b'1')
    config.write_text(config.read_text() + '\ntrain_cfg = dict(max_epochs=3)')
    with pytest.raises(ValueError, match='run with another config, weights or annot'):
        matrix().result(task)
    del content['made_of']  # as older results are
    path.write_text(json.dumps(content))
    assert matrix().result(task)


def test_a_result_of_other_weights_that_the_config_itself_names_is_refused(tmp_path):
    """The config distils; teacher, its config and the student's first weights lie in files."""
    first, teacher, config = (tmp_path / name for name in ('first.pth', 't.pth', 'distils.py'))
    teacher_config = tmp_path / 'teacher.py'
    teacher_config.write_text("model = dict(type='RetinaNet')")
    config.write_text(
        f"_base_ = '{REPO / 'configs/bccd/retinanet.py'}'\n"
        f"load_from = '{first}'\n"
        "custom_hooks = [dict(type='sortkd_det.DistillHook', method=[dict(loss='KDLoss')],\n"
        f"    teacher=dict(config='{teacher_config}', checkpoint='{teacher}'))]\n"
    )
    for path in (first, teacher):
        path.write_bytes(b'1')
    task = Task(None, 'kd', 0)
    path = tmp_path / 'kd/seed0/result.json'
    path.parent.mkdir(parents=True)

    def result():
        return Matrix(config, tmp_path, REPO).result(task)

    made_of = Matrix(config, tmp_path, REPO).contents(task)
    read = {name for name in made_of if not name.startswith('data/')}  # where the data lie
    assert read == {'config', str(first), str(teacher), str(teacher_config)}
    options = dict(cfg_options=[], data_root=None, gpus=1)
    content = dict(options=options, metrics={'coco/bbox_mAP': 0.5}, made_of=made_of)
    path.write_text(json.dumps(content))
    assert result()
    for changed in (first, teacher, teacher_config):
        before, status = changed.read_bytes(), changed.stat()
        changed.write_bytes(before.replace(b'1', b'2').replace(b'Retina', b'Rotina'))
        with pytest.raises(ValueError, match=re.escape(f'the content of {changed} is another')):
            result()
        changed.write_bytes(before)
        os.utime(changed, (status.st_atime + 9, status.st_mtime + 9))  # the content decides
        assert result()
    teacher.unlink()  # cannot be told
    assert result()
    del content['made_of'][str(first)]  # as results are that were made before it was noted
    path.write_text(json.dumps(content))
    first.write_bytes(b'3')
    assert result()


class Sleeping(Matrix):
    """Runs that take long and learn nothing."""

    def command(self, tool, task, checkpoint=None):
        said = 'import time; print("begun", flush=True); time.sleep(600)'
        return [sys.executable, '-c', said]


def test_a_matrix_that_is_stopped_stops_its_runs(tmp_path):
    matrix = Sleeping(REPO / 'configs/clothing/student.py', tmp_path, REPO)
    log = tmp_path / 'student/seed0/output.log'

    def stop():
        while not (log.is_file() and 'begun' in log.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt, match='stopped by SIGTERM: the runs were told to stop'):
        matrix.run([Task(None, 'student', 0), Task(None, 'student', 1)])
    assert time.monotonic() - start < 300
    assert not (tmp_path / 'student/seed1/output.log').exists()


def test_a_run_that_another_process_makes_is_left_to_it(tmp_path):
    matrix = Sleeping(REPO / 'configs/clothing/student.py', tmp_path, REPO)
    folder = tmp_path / 'student/seed0'
    folder.mkdir(parents=True)
    with held(folder), pytest.raises(RuntimeError, match='is run by another process'):
        matrix.run([Task(None, 'student', 0)])


@pytest.fixture
def run_toy(run_python, toy_data, random_teacher, tmp_path):
    """``tools/compare.py`` on a matrix of the toy detector, an epoch of 12 images each."""
    loaders = [
        f'{split}_dataloader.{setting}'
        for split in ('train', 'val', 'test')
        for setting in ('num_workers=0', 'persistent_workers=False')
    ]

    def run(*arguments, teacher=random_teacher, **options):
        return run_python(
            'tools/compare.py', '--student', 'configs/toy/student.py',
            '--teacher', 'configs/toy/teacher.py', '--teacher-checkpoint', teacher,
            '--data-root', toy_data, '--work-dir', tmp_path / 'work',
            '--cfg-options', 'train_cfg.max_epochs=1', 'check_teacher=None',
            'model.test_cfg.rcnn.score_thr=0.0', *loaders, *arguments, **options,
        ).stdout  # fmt: skip

    return run


def test_a_matrix_of_detectors_is_run_once_and_compared(run_toy, tmp_path):
    arguments = ['--methods', 'student', 'sortkd', '--draws', '20', '--seeds', '0']
    assert run_toy(*arguments).count(': started') == 2
    arguments.append('1')
    dry = run_toy(*arguments, '--dry-run')
    assert re.search(r'4 runs, 2 are left, about \d+ (s|min), 1 at once', dry)
    assert re.search(r'student: 1 left, about \d+ (s|min) each', dry)
    assert 'sortkd/seed0: done' in dry
    assert not (tmp_path / 'work/sortkd/seed1').exists()
    said = run_toy(*arguments, '--out', tmp_path / 'out.json', '--submit', 'env')
    assert re.findall('(.*): started', said) == ['student/seed1', 'sortkd/seed1']
    rows = json.loads((tmp_path / 'out.json').read_text())['rows']
    assert [(row['method'], list(row['scores'])) for row in rows] == [
        ('student', ['0', '1']),
        ('sortkd', ['0', '1']),
    ]
    assert rows[1]['over_seeds']['number'] == 2
    assert f'wrote {tmp_path}/work/report.html' in said
    report = (tmp_path / 'work/report.html').read_text()
    assert report.count('<polyline') >= 4
    assert report.count('data:image/jpeg;base64,') == 6
    assert str(tmp_path) not in report
    assert rows[1]['over_images']['number'] == 6
    assert re.search(r'sortkd − student over images .*\(6\): ', said)


def test_a_run_is_timed_by_its_first_steps_where_none_is_done(run_toy, tmp_path):
    arguments = ['--methods', 'student', 'kd', '--dry-run', '--seeds', '0', '1']
    said = run_toy(*arguments)
    for method in ('student', 'kd'):
        assert re.search(rf'^{method}: 2 left, about \d+ (s|min) each$', said, re.MULTILINE)
    said = run_toy(*arguments, teacher='nowhere.pth')
    assert re.search(r'^kd: 2 left, no estimate: .*nowhere\.pth', said, re.MULTILINE)
    assert re.search(r'4 are left, about \d+ (s|min) for those with an estimate, 1 at once', said)
    assert not (tmp_path / 'work').exists()


def test_a_run_that_fails_is_named_with_its_log(run_python, pictures, tmp_path):
    done = run_python(
        'tools/compare.py', '--student', 'configs/clothing/student.py', '--methods', 'student',
        '--data-root', pictures, '--work-dir', tmp_path / 'work',
        '--cfg-options', 'model.num_classes=3', 'load_from=nowhere.pth', check=False,
    )  # fmt: skip
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert re.search(r'student/seed0 failed \(exit code 1\), see .*output\.log.*nowhere', said)


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        ('', 'give either finished runs as NAME=PATH, or --student CONFIG'),
        ('kd=x --student configs/toy/student.py', 'give either finished runs as NAME=PATH, or'),
        ('--student configs/toy/student.py', '--student needs --methods'),
        ('kd=x --annotations nowhere.json', '--annotations: there is no file nowhere.json'),
        (
            '--student configs/toy/student.py --methods student --variant a --variant a',
            '--variant must differ in their names',
        ),
        (
            '--student configs/toy/student.py --methods student --variant lr=1',
            '--variant NAME key=value: a name has letters',
        ),
        (
            '--student configs/toy/student.py --methods kd --share-teacher --submit srun',
            '--share-teacher keeps logits in a file of one machine, and --submit sends runs to any',
        ),
        (
            '--student configs/toy/student.py --methods kd --submit "srun',
            '--submit takes words as a shell has them, got "srun',
        ),
    ],
)
def test_command_lines_that_ask_for_nothing_are_answered(run_python, arguments, says):
    done = run_python('tools/compare.py', *arguments.split(), check=False)
    assert done.returncode == 1
    assert says in done.stderr


def test_methods_that_share_a_teacher_end_as_apart(run_python, pictures, teacher_weights, tmp_path):
    def run(name, *arguments):
        run_python(
            'tools/compare.py', '--student', 'configs/clothing/student.py', '--teacher', 'resnet14',
            '--teacher-checkpoint', teacher_weights, '--data-root', pictures, '--draws', 0,
            '--work-dir', tmp_path / name, *arguments, '--cfg-options', 'model.num_classes=3',
            'train_cfg.max_epochs=1', 'train_dataloader.batch_size=6',
            'train_dataloader.dataset.size=20', 'default_hooks.checkpoint.interval=1',
        )  # fmt: skip
        checkpoint = load_checkpoint(str(tmp_path / name / 'sortkd/seed0/epoch_1.pth'))
        return checkpoint['state_dict'], (tmp_path / name / 'sortkd/seed0/output.log').read_text()

    shared, log = run('shared', '--methods', 'kd', 'sortkd', '--share-teacher')
    assert re.search(r'the logits of 2 batches were read from .*, and those of 0 computed', log)
    assert not list((tmp_path / 'shared').glob('**/*.sqlite*'))
    assert_same(shared, run('apart', '--methods', 'sortkd')[0])
