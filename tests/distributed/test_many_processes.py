"""Runs of several processes: the same gradients, images and metrics as one; nobody left behind."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from ports import free_port

from sortkd_det.cli.config import run_config, set_data_root
from sortkd_det.hooks import EXIT_STOPPED

HERE = Path(__file__).parent
REPO = HERE.parents[1]
MANY = (2, 4)
CTKD = dict(loss=dict(type='KDLoss', temperature=dict(type='LearnableTemperature', ramp=1)))
SORTKD = dict(processors=['SortLogits'], loss='KDLoss')
DKD = dict(loss=dict(type='DKDLoss', beta=2.0))
SLD = dict(processors=['SwapLogits'], loss='KDLoss', views='all')
DKD_FOREGROUND = dict(loss='DKDLoss', loss_rows='foreground')
EXACT = dict(frozen=True, dtype='float64')
# MLKD's and DIST's losses also relate the rows of a batch, which each process has its own of.
BY_ROWS = sorted(
    {path.stem for path in (REPO / 'configs/_base_/methods').glob('*.py')} - {'mlkd', 'dist'}
)


# -- runs --------------------------------------------------------------------


class Jobs:
    """Runs of one launch of ``worker.py``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = []

    def add(self, name: str, cfg: Config, processes=(1, *MANY), **options) -> Path:
        """Note a run; options: frozen (batch norm), dtype, test, detection. Returns its folder."""
        folder = self.folder / name
        folder.mkdir()
        cfg.dump(folder / 'config.py')
        self.jobs.append(
            dict(
                name=name, config=str(folder / 'config.py'), folder=str(folder),
                processes=processes, **options,
            )
        )  # fmt: skip
        return folder

    def start(self, timeout: float = 600) -> dict:
        """Run them; what came of each, by name and number of processes, is a list by rank."""
        path = self.folder / 'jobs.json'
        path.write_text(json.dumps(self.jobs))
        printed, code = launch([sys.executable, HERE / 'worker.py', path], timeout)
        (self.folder / 'printed.txt').write_text(printed)
        assert code == 0, printed[-6000:]
        return {
            (job['name'], processes): [
                torch.load(f'{job["folder"]}/{processes}-{rank}.pth', weights_only=False)
                for rank in range(processes)
            ]
            for job in self.jobs
            for processes in job['processes']
        }


def launch(command: list, timeout: float, told: str | None = None) -> tuple[str, int]:
    """Run a command in a process group of its own; what it printed, and its exit status.

    It is sent SIGTERM once it has printed ``told``.
    """
    environment = {
        **os.environ, 'PYTHONPATH': f'{HERE}:{HERE.parent}:{REPO}', 'PYTHON': sys.executable,
        'PORT': str(free_port()), 'OMP_NUM_THREADS': '1',
    }  # fmt: skip
    process = subprocess.Popen(
        list(map(str, command)), cwd=REPO, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    out_of_time = [
        threading.Timer(timeout + grace, os.killpg, (process.pid, number))
        for grace, number in ((0, signal.SIGTERM), (45, signal.SIGKILL))  # torchrun ends its own
    ]
    for timer in out_of_time:
        timer.start()
    printed = []
    for line in process.stdout:
        printed.append(line)
        if told and told in line:
            process.terminate()
    for timer in out_of_time:
        timer.cancel()
    return ''.join(printed), process.wait()


def classifier(pictures, teacher_weights, method=(SORTKD,), **hook):
    """A distilled classifier that sees 4 images in each of its 3 steps an epoch."""
    cfg = run_config(
        REPO / 'configs/cifar100.py',
        teacher='resnet14',
        teacher_checkpoint=str(teacher_weights),
        method='sortkd',
        cfg_options={'model.type': 'sortkd_det.cifar/resnet8', 'model.num_classes': 3},
    )
    cfg.custom_imports.imports.append('worker')
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.batch_size = 4
        loader.dataset = dict(
            type='sortkd_det.ImageFolder', root=str(pictures), split=split, size=20
        )
    cfg.train_cfg = dict(by_epoch=True, max_epochs=1, val_begin=100)
    cfg.default_hooks.logger.interval = 1
    distil = cfg.custom_hooks[0]
    distil.update(method=list(method), student_weight=1.0, **hook)
    return cfg


def detector(toy_data, random_teacher, method=(SORTKD,), **hook):
    """A distilled detector that sees 4 images in each of its 2 steps, as many RoIs in each."""
    cfg = run_config(
        REPO / 'configs/toy/student.py',
        teacher=str(REPO / 'configs/toy/teacher.py'),
        teacher_checkpoint=str(random_teacher),
        method='sortkd',
        data_root=str(toy_data),
    )
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.batch_size = 4
        loader.num_workers, loader.persistent_workers = 0, False
    data = cfg.train_dataloader.dataset
    data.indices, data.filter_cfg, data.pipeline[2].scale = 8, None, (96, 96)
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_begin=100)
    cfg.default_hooks.logger.interval = 1
    cfg.optim_wrapper.pop('clip_grad')
    for stage in ('rpn', 'rcnn'):
        cfg.model.train_cfg[stage].sampler.type = 'FirstSampler'
    cfg.model.train_cfg.rpn_proposal.nms = None  # mmcv's knows float32 only
    distil = cfg.custom_hooks[0]
    distil.update(method=list(method), check_teacher=None, **hook)
    cfg.custom_hooks = [distil]
    return cfg


@pytest.fixture(scope='module')
def launched(tmp_path_factory, pictures, teacher_weights, toy_data, random_teacher):
    """The quick runs, all of one launch."""
    jobs = Jobs(tmp_path_factory.mktemp('many'))
    whole = jobs.add('whole', four_epochs(pictures, teacher_weights), [2])
    cfg = four_epochs(pictures, teacher_weights)
    cfg.custom_hooks.append(dict(type='Strike', how='stop', rank=1, at=4))
    stopped = jobs.add('stopped', cfg, [2])
    cfg = four_epochs(pictures, teacher_weights)
    cfg.resume, cfg.load_from = True, str(stopped / '2/stopped_iter_10.pth')
    jobs.add('resumed', cfg, [2])

    for name, cfg in (
        ('sortkd', classifier(pictures, teacher_weights)),
        ('dkd', classifier(pictures, teacher_weights, [DKD])),
        ('ctkd', classifier(pictures, teacher_weights, [CTKD])),
        ('sld', classifier(pictures, teacher_weights, [SLD])),
    ):
        cfg.model.data_preprocessor.type = 'DoublePreprocessor'
        if name == 'sld':
            cfg.model.data_preprocessor.num_views = 2
        jobs.add(name, cfg, **EXACT)
    terms = [SORTKD, DKD_FOREGROUND, CTKD]
    jobs.add('detector', detector(toy_data, random_teacher, terms), **EXACT, detection=True)
    cfg = detector(toy_data, random_teacher, terms, student_weight=0.0)
    cfg.train_dataloader.dataset.ann_file = one_object(toy_data)
    cfg.train_dataloader.sampler.shuffle = False
    jobs.add('one object', cfg, [1, 2], **EXACT, detection=True)

    cfg = classifier(seven_tests(pictures, tmp_path_factory), teacher_weights)
    cfg.test_dataloader.batch_size = 3
    cfg.test_evaluator = [
        dict(type='sortkd_det.Accuracy', topk=(1, 2), per_class=True),
        dict(type='Confidence'),
    ]
    cfg.load_from = str(whole / '2/epoch_4.pth')
    jobs.add('accuracy', cfg, test=True)
    jobs.add('precision', guesser(tmp_path_factory), test=True, detection=True)
    cfg = four_epochs(pictures, teacher_weights)
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.load_from = str(whole / '2/epoch_4.pth')
    jobs.add('validated', cfg, [1], test=True)
    cfg = classifier(pictures, teacher_weights, check_teacher=6)
    jobs.add('checked', cfg, [1, 2])
    return jobs.start(), jobs.folder


@pytest.fixture(scope='module')
def results(launched):
    return launched[0]


@pytest.fixture(scope='module')
def folder(launched):
    return launched[1]


def four_epochs(pictures, teacher_weights):
    """SortKD, CTKD and the audit over 12 steps; the last epoch is validated."""
    cfg = classifier(pictures, teacher_weights, [SORTKD, CTKD])
    cfg.custom_hooks.append(dict(type='sortkd_det.TeacherAuditHook', interval=2))
    cfg.train_cfg.update(max_epochs=4, val_begin=4)
    cfg.param_scheduler.milestones = [2]
    cfg.val_evaluator = [cfg.val_evaluator, dict(type='Confidence')]
    return cfg


def one_object(toy_data):
    """An annotation file that knows one object, in the first image."""
    annotations = json.loads((toy_data / 'annotations/train.json').read_text())
    annotations['annotations'] = annotations['annotations'][:1]
    path = toy_data / 'annotations/one_object.json'
    path.write_text(json.dumps(annotations))
    return f'annotations/{path.name}'


def seven_tests(pictures, tmp_path_factory):
    """The pictures, and one more in the test set, which is not of its class."""
    root = tmp_path_factory.mktemp('seven') / 'pictures'
    shutil.copytree(pictures, root)
    shutil.copy(root / 'val/green/0.png', root / 'test/red/more.png')
    return root


def guesser(tmp_path_factory):
    """The test of seven images by a detector that is right now and then."""
    from sortkd_det.studies.demo.toy_coco import generate_toy_coco

    root = tmp_path_factory.mktemp('seven') / 'toy'
    generate_toy_coco(root, num_train=1, num_val=7, image_size=(96, 96))
    cfg = Config.fromfile(REPO / 'configs/toy/student.py')
    set_data_root(cfg, str(root))
    cfg.model = dict(type='Guesser', data_preprocessor=cfg.model.data_preprocessor)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.num_workers, loader.persistent_workers = 0, False
    cfg.test_dataloader.batch_size = 3
    cfg.test_evaluator.classwise = True
    return cfg


# -- gradients ---------------------------------------------------------------


def difference(several, one):
    """‖several - one‖ / ‖one‖ of two dicts of tensors."""
    assert several.keys() == one.keys()
    between = sum((several[name] - one[name]).square().sum() for name in one)
    return float((between / sum(value.square().sum() for value in one.values())).sqrt())


def learned(gradients):
    return {name: value for name, value in gradients.items() if name.endswith('theta')}


DIFFERENCES = {}  # the largest of each number of processes


@pytest.fixture(scope='module', autouse=True)
def say_how_equal():
    yield
    for processes, largest in DIFFERENCES.items():
        print(f'\ngradients of {processes} processes and of one differ by {largest:.1e} at most')


def assert_equal_gradients(several, one, steps):
    """Every process has the gradients of one process that has the whole batch."""
    for rank, process in enumerate(several):
        assert len(process['gradients']) == len(one['gradients']) == steps
        for own, whole in zip(process['gradients'], one['gradients'], strict=True):
            pairs = [(own, whole)]
            if learned(whole):
                pairs.append((learned(own), learned(whole)))
            for pair in pairs:
                found = difference(*pair)
                DIFFERENCES[len(several)] = max(found, DIFFERENCES.get(len(several), 0))
                assert found < 1e-5, rank


@pytest.mark.parametrize('processes', MANY)
@pytest.mark.parametrize('name', ['sortkd', 'dkd', 'ctkd', 'sld'])
def test_classifiers_have_the_gradients_of_one_process(results, name, processes):
    (one,) = results[name, 1]
    assert_equal_gradients(results[name, processes], one, steps=3)
    assert bool(learned(one['gradients'][0])) == (name == 'ctkd')


@pytest.mark.parametrize('processes', MANY)
def test_detectors_have_the_gradients_of_one_process(results, processes):
    """SortKD, DKD of the foreground and CTKD at once, beside the detector's own losses."""
    (one,) = results['detector', 1]
    several = results['detector', processes]
    assert_equal_gradients(several, one, steps=2)
    assert learned(one['gradients'][0])
    for step, (rows, foreground) in enumerate(one['rows']):
        counts = [process['rows'][step] for process in several]
        assert {number for number, _ in counts} == {rows / processes}
        assert sum(number for _, number in counts) == foreground
    assert len({process['rows'][0][1] for process in several}) > 1  # or the average proves nothing


@pytest.mark.parametrize('processes', MANY)
@pytest.mark.parametrize('name', ['sld', 'detector'])
def test_each_image_is_augmented_as_in_one_process(results, name, processes):
    """Batches of B in W processes hold what a batch of W · B holds, in the order r, r + W, …"""
    (one,) = results[name, 1]
    for step, (numbers, images) in enumerate(one['batches']):
        for rank, process in enumerate(results[name, processes]):
            own_numbers, own_images = process['batches'][step]
            assert own_numbers == numbers[rank::processes]
            views = (
                zip(own_images, images, strict=True) if name == 'sld' else [(own_images, images)]
            )
            for own, whole in views:
                assert torch.equal(own, whole[rank::processes])


@pytest.fixture(scope='module')
def all_methods(tmp_path_factory, pictures, teacher_weights, toy_data, random_teacher):
    """A run of every method that looks at rows one by one, for both kinds of students."""
    jobs = Jobs(tmp_path_factory.mktemp('methods'))
    for name in BY_ROWS:
        method = Config.fromfile(REPO / f'configs/_base_/methods/{name}.py').method
        cfg = classifier(pictures, teacher_weights, method)
        cfg.model.data_preprocessor.update(type='DoublePreprocessor', num_views=2)
        jobs.add(f'classifier {name}', cfg, **EXACT)
        cfg = detector(toy_data, random_teacher, method)
        jobs.add(f'detector {name}', cfg, [1, 2], **EXACT, detection=True)
    return jobs.start(3000)


@pytest.mark.slow
@pytest.mark.parametrize('name', BY_ROWS)
@pytest.mark.parametrize(
    ('kind', 'steps', 'processes'),
    [('classifier', 3, 2), ('classifier', 3, 4), ('detector', 2, 2)],
)
def test_every_method_has_the_gradients_of_one_process(all_methods, kind, steps, processes, name):
    (one,) = all_methods[f'{kind} {name}', 1]
    assert_equal_gradients(all_methods[f'{kind} {name}', processes], one, steps)


# -- processes with little to do ---------------------------------------------


def test_a_process_without_objects_holds_nobody_up(results):
    """No parameter is unused: DDP does not look for them."""
    several = [process for (_, number), found in results.items() if number > 1 for process in found]
    assert {process['find_unused_parameters'] for process in several} == {False}
    with_object, without = results['one object', 2]
    assert [rows for rows in with_object['rows']] == [(128, 1), (128, 0)]
    assert [rows for rows in without['rows']] == [(128, 0), (128, 0)]
    assert len(without['gradients']) == 2
    assert learned(without['gradients'][0])


def test_less_foreground_than_processes_has_the_gradients_of_one_process(results):
    (one,) = results['one object', 1]
    assert_equal_gradients(results['one object', 2], one, steps=2)


# -- evaluation --------------------------------------------------------------


@pytest.mark.parametrize('processes', MANY)
def test_accuracy_of_uneven_batches_is_that_of_one_process(results, processes):
    (one,) = results['accuracy', 1]
    assert 0 < one['metrics']['accuracy/top1'] < 100
    for process in results['accuracy', processes]:
        confidence = process['metrics'].pop('confidence/mean')
        assert confidence == pytest.approx(one['metrics']['confidence/mean'], rel=1e-5)
        assert process['metrics'].items() <= one['metrics'].items()
        assert len(process['metrics']) == 5


@pytest.mark.parametrize('processes', MANY)
def test_average_precision_of_uneven_batches_is_that_of_one_process(results, processes):
    (one,) = results['precision', 1]
    assert 0.1 < one['metrics']['coco/bbox_mAP'] < 0.9
    for process in results['precision', processes]:
        assert process['metrics'] == one['metrics']


def test_the_validation_is_of_the_model_that_is_saved(results, folder):
    """Each process has its own statistics of batch norm; the first one's are saved."""
    (log,) = (folder / 'whole/2').glob('*/vis_data/scalars.json')
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    (validated,) = (entry for entry in entries if 'confidence/mean' in entry)
    (saved,) = results['validated', 1]
    assert validated['confidence/mean'] == pytest.approx(saved['metrics']['confidence/mean'])


def test_the_teacher_is_tested_on_as_many_images_as_in_one_process(results, folder):
    found = []
    for processes in (1, 2):
        (log,) = (folder / f'checked/{processes}').glob('*/*.log')
        found += re.findall('teacher on .* images of the validation set.*', log.read_text())
    assert len(found) == 2
    assert found[0] == found[1]


# -- stopping and resuming ---------------------------------------------------


def test_a_signal_to_one_process_stops_all_and_the_resumed_run_ends_bit_equal(results, folder):
    assert [process['code'] for process in results['stopped', 2]] == [EXIT_STOPPED] * 2
    assert [process['code'] for process in results['resumed', 2]] == [None] * 2
    log = ''.join(path.read_text() for path in (folder / 'stopped/2').glob('*/*.log'))
    assert log.count('SIGTERM: stopped after iteration 10') == 1
    whole, resumed = (
        torch.load(folder / name / '2/epoch_4.pth', weights_only=True)
        for name in ('whole', 'resumed')
    )
    for part in ('state_dict', 'optimizer', 'sortkd_det'):
        assert_same(whole[part], resumed[part])
    (first, second), again = results['whole', 2], results['resumed', 2]
    for name, value in first['weights'].items():
        assert torch.equal(value, again[0]['weights'][name]), name
        if 'running' not in name:
            assert torch.equal(value, second['weights'][name]), name
            assert torch.equal(value, again[1]['weights'][name]), name
    assert_same(first['gradients'][10:], again[0]['gradients'])


def assert_same(one, other, where=''):
    """Equal to the bit, at any depth."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f'{where}.{key}')
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f'{where}.{index}')
    else:
        assert one == other, where


# -- the end of a process ----------------------------------------------------


def train(cfg, folder, *options, processes=2, told=None, timeout=240):
    """Run tools/dist_train.sh; what it printed, its exit status, and when it ended."""
    path = folder / 'config.py'
    cfg.dump(path)
    command = ['bash', 'tools/dist_train.sh', path, processes, '--work-dir', folder / 'work']
    printed, code = launch([*command, *options], timeout, told)
    return printed, code, time.time()


def assert_ended(printed, code, now, message):
    """The whole job failed, soon after the process said that it dies, and tells why."""
    assert code != 0
    (died,) = re.findall(r'process \d, \w+ at ([\d.]+)', printed)
    print(f'the job ended {now - float(died):.0f} s after the process died')
    assert now - float(died) < 60
    assert message in printed


@pytest.mark.parametrize(
    ('strike', 'message'),
    [
        (dict(how='raise'), 'the memory of this process is gone'),
        pytest.param(dict(how='exit'), 'exitcode  : 3', marks=pytest.mark.slow),
        pytest.param(dict(how='kill'), 'Signal 9 (SIGKILL)', marks=pytest.mark.slow),
        pytest.param(dict(how='kill', rank=0), 'Signal 9 (SIGKILL)', marks=pytest.mark.slow),
        pytest.param(dict(how='kill', mode='predict'), 'Signal 9', marks=pytest.mark.slow),
    ],
)
def test_a_process_that_dies_ends_the_job(strike, message, pictures, teacher_weights, tmp_path):
    cfg = classifier(pictures, teacher_weights)
    cfg.train_cfg.val_begin = 1
    cfg.custom_hooks.append(dict(type='Strike', **strike))
    assert_ended(*train(cfg, tmp_path), message)


@pytest.mark.slow
def test_a_detectors_process_that_dies_ends_the_job_and_its_workers(
    toy_data, random_teacher, tmp_path
):
    cfg = detector(toy_data, random_teacher)
    cfg.custom_imports = dict(imports=['sortkd_det.detection', 'worker'])
    for stage in ('rpn', 'rcnn'):
        cfg.model.train_cfg[stage].sampler.type = 'RandomSampler'
    cfg.train_dataloader.update(batch_size=1, num_workers=2, persistent_workers=True)
    cfg.custom_hooks.append(dict(type='Strike', how='kill', rank=3))
    assert_ended(*train(cfg, tmp_path, processes=4), 'Signal 9 (SIGKILL)')


@pytest.mark.slow
def test_a_signal_to_the_launcher_stops_all_and_the_resumed_run_ends_bit_equal(
    pictures, teacher_weights, tmp_path
):
    ends = {}
    for name in ('whole', 'stopped', 'resumed'):
        cfg = classifier(pictures, teacher_weights, [SORTKD, CTKD])
        cfg.train_cfg.max_epochs = 40
        cfg.param_scheduler.milestones = [20]
        if name == 'stopped':
            cfg.custom_hooks.append(dict(type='Strike', how='tell', rank=0, at=4))
        folder = tmp_path / ('whole' if name == 'whole' else 'other')
        folder.mkdir(exist_ok=True)
        options = ['--resume'] if name == 'resumed' else []
        told = 'process 0, tell' if name == 'stopped' else None
        printed, code, _ = train(cfg, folder, *options, told=told)
        assert (code == 0) == (name != 'stopped'), printed[-4000:]
        if name == 'stopped':
            assert printed.count('SIGTERM: stopped after iteration') == 1
            (stopped,) = (folder / 'work').glob('stopped_iter_*0.pth')
            assert (folder / 'work/last_checkpoint').read_text() == str(stopped)
            assert not re.search(r'^(error:|\[rank)', printed, re.M)  # of a process
        else:
            ends[name] = torch.load(folder / 'work/epoch_40.pth', weights_only=True)
    for part in ('state_dict', 'optimizer', 'sortkd_det'):
        assert_same(ends['whole'][part], ends['resumed'][part])


@pytest.mark.slow
def test_a_resumed_run_that_first_validates_does_not_hang(pictures, teacher_weights, tmp_path):
    for name in ('whole', 'resumed'):
        cfg = classifier(pictures, teacher_weights)
        cfg.custom_hooks.append(dict(type='sortkd_det.TeacherAuditHook', interval=3))
        cfg.train_cfg = dict(by_epoch=False, max_iters=8, val_interval=4)
        cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
        cfg.param_scheduler = None
        cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=4)
        options = ['--resume', tmp_path / 'work/iter_4.pth'] if name == 'resumed' else []
        printed, code, _ = train(cfg, tmp_path, *options, timeout=60)
        assert code == 0 or (name == 'resumed' and pytest.fail(printed[-4000:]))


@pytest.mark.slow
def test_none_leaves_before_the_checkpoint_is_there(pictures, teacher_weights, tmp_path):
    """The launcher gives the others 30 seconds from when the first left."""
    cfg = classifier(pictures, teacher_weights, [SORTKD])
    cfg.train_cfg.max_epochs = 40
    cfg.custom_hooks.append(dict(type='Strike', how='stop', at=4))
    cfg.custom_hooks.append(dict(type='SlowSave', seconds=45))
    cfg.default_hooks.checkpoint.interval = 100
    printed, code, _ = train(cfg, tmp_path)
    assert code == 1, printed[-4000:]
    (saved,) = (tmp_path / 'work').glob('stopped_iter_*0.pth')
    assert (tmp_path / 'work/last_checkpoint').read_text() == str(saved)


@pytest.mark.slow
def test_a_signal_to_one_process_that_validates_loses_nothing(pictures, teacher_weights, tmp_path):
    cfg = classifier(pictures, teacher_weights)
    cfg.train_cfg.val_begin = 1
    cfg.val_dataloader.batch_size = 1
    cfg.custom_hooks.append(dict(type='Strike', how='stop', mode='predict', at=1))
    cfg.default_hooks.checkpoint.interval = 100
    printed, code, _ = train(cfg, tmp_path)
    assert code == 0 or (tmp_path / 'work/stopped_iter_3.pth').exists(), printed[-4000:]


# -- the tools ---------------------------------------------------------------


def results_of_both(arguments, folder):
    """Metrics and predictions by tools/test.py and, on two processes, by tools/dist_test.sh."""
    for processes, command in (
        (1, [sys.executable, 'tools/test.py', *arguments]),
        (2, ['bash', 'tools/dist_test.sh', *arguments, 2]),
    ):
        out = folder / f'{processes}.pkl'
        printed, code = launch([*command, '--work-dir', folder / 'test', '--out', out], 240)
        assert code == 0, printed[-4000:]
        (path,) = re.findall(r'wrote .*, (\S+\.json); log', printed)
        metrics = json.loads(Path(path).read_text())
        yield {k: v for k, v in metrics.items() if 'time' not in k}, pickle.loads(out.read_bytes())


@pytest.mark.slow
def test_the_tools_give_a_classifier_the_same_accuracy(
    pictures, teacher_weights, tmp_path, tmp_path_factory
):
    cfg = classifier(seven_tests(pictures, tmp_path_factory), teacher_weights)
    cfg.test_dataloader.batch_size = 3
    cfg.test_evaluator.per_class = True
    printed, code, _ = train(cfg, tmp_path)
    assert code == 0, printed[-4000:]
    (one, _), (two, _) = results_of_both(
        [tmp_path / 'config.py', tmp_path / 'work/epoch_1.pth'], tmp_path
    )
    assert one == two
    assert len(one) == 5
    assert one['accuracy/top1'] % 100 > 0


@pytest.mark.slow
def test_the_tools_give_a_detector_the_same_boxes(
    toy_data, random_teacher, save_random_weights, tmp_path
):
    cfg = Config.fromfile(REPO / 'configs/toy/student.py')
    set_data_root(cfg, str(toy_data))
    cfg.test_dataloader.update(batch_size=2)  # 3 + 3 images on two processes
    save_random_weights(cfg, tmp_path / 'student.pth')
    cfg.dump(tmp_path / 'config.py')
    (one, boxes), (two, again) = results_of_both(
        [tmp_path / 'config.py', tmp_path / 'student.pth'], tmp_path
    )
    assert one == two
    assert [image['img_id'] for image in boxes] == [image['img_id'] for image in again]
    for image, same in zip(boxes, again, strict=True):
        assert len(image['pred_instances']['scores']) > 0
        for key, value in image['pred_instances'].items():
            torch.testing.assert_close(same['pred_instances'][key], value)
