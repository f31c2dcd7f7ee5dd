"""Launches of several processes, and what they run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
from mmengine.config import Config
from ports import free_port

from sortkd_det.cli.config import run_config, set_data_root

REPO = Path(__file__).parents[1]
WORKER = REPO / 'tests/distributed/worker.py'
MANY = (2, 4)
CTKD = dict(loss=dict(type='KDLoss', temperature=dict(type='LearnableTemperature', ramp=1)))
SORTKD = dict(processors=['SortLogits'], loss='KDLoss')
DKD = dict(loss=dict(type='DKDLoss', beta=2.0))
SLD = dict(processors=['SwapLogits'], loss='KDLoss', views='all')
DKD_FOREGROUND = dict(loss='DKDLoss', loss_rows='foreground')
EXACT = dict(frozen=True, dtype='float64')


class Jobs:
    """Runs of one launch of ``worker.py``, on the CPU or, all on one GPU, ``'cuda'``."""

    def __init__(self, folder: Path, device: str = 'cpu') -> None:
        self.folder, self.device = folder, device
        self.jobs = []

    def add(self, name: str, cfg: Config, processes=(1, *MANY), **options) -> Path:
        """Note a run; options: frozen (batch norm), dtype, test, detection. Returns its folder."""
        folder = self.folder / name
        folder.mkdir()
        cfg.dump(folder / 'config.py')
        self.jobs.append(
            dict(
                name=name, config=str(folder / 'config.py'), folder=str(folder),
                processes=processes, device=self.device, **options,
            )
        )  # fmt: skip
        return folder

    def start(self, timeout: float = 600) -> dict:
        """Run them; what came of each, by name and number of processes, is a list by rank."""
        path = self.folder / 'jobs.json'
        path.write_text(json.dumps(self.jobs))
        printed, code = launch([sys.executable, WORKER, path], timeout, device=self.device)
        (self.folder / 'printed.txt').write_text(printed)
        assert code == 0, printed[-6000:]
        return {
            (job['name'], processes): [
                torch.load(f'{job["folder"]}/{processes}-{rank}.pth', 'cpu', weights_only=False)
                for rank in range(processes)
            ]
            for job in self.jobs
            for processes in job['processes']
        }


def launch(
    command: list, timeout: float, told: str | None = None, device: str = 'cpu'
) -> tuple[str, int]:
    """Run a command in a process group of its own; what it printed, and its exit status.

    It is sent SIGTERM once it has printed ``told``. With ``device='cpu'`` it sees no GPU.
    """
    hidden = {'CUDA_VISIBLE_DEVICES': ''} if device == 'cpu' else {}
    environment = {
        **os.environ, 'PYTHONPATH': f'{WORKER.parent}:{REPO / "tests"}:{REPO}',
        'PYTHON': sys.executable, 'PORT': str(free_port()), 'OMP_NUM_THREADS': '1', **hidden,
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


def train(cfg, folder, *options, processes=2, told=None, timeout=240):
    """Run tools/dist_train.sh; what it printed, its exit status, and when it ended."""
    path = folder / 'config.py'
    cfg.dump(path)
    command = ['bash', 'tools/dist_train.sh', path, processes, '--work-dir', folder / 'work']
    printed, code = launch([*command, *options], timeout, told)
    return printed, code, time.time()
