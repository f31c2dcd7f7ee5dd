"""What the processes of these tests do: runs of the real runner, watched.

``python worker.py jobs.json`` imports everything once, then forks for each number of processes;
on a GPU, which all of them share, each is a Python of its own.
Configs of other launches import this file by its name, for the classes that it registers.
"""

import functools
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import mmengine.config.config
import mmengine.config.utils
import torch
from mmengine.config import Config
from mmengine.dist import barrier, get_rank
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS, METRICS, MODELS
from ports import free_port
from torch.nn.modules.batchnorm import _BatchNorm

import sortkd_det.classification  # noqa: F401
from sortkd_det.classification.preprocessor import ImagePreprocessor
from sortkd_det.cli.runner import build_runner, prepare
from sortkd_det.functional import sort_logits
from sortkd_det.hooks import DistillHook


@HOOKS.register_module()
class Strike(Hook):
    """Strikes process ``rank`` within the student's forward of iteration ``at``, counted from 1.

    Args:
        how: ``'exit'``, ``'raise'``, ``'kill'``: it dies; ``'stop'``: by SIGTERM; ``'tell'``: it
            prints that it is there.
        mode: ``'loss'``, or ``'predict'`` for the validation.
    """

    def __init__(self, how, rank=1, at=2, mode='loss'):
        self.how, self.rank, self.at, self.mode = how, rank, at, mode

    def before_train(self, runner):
        def strike(module, args, kwargs):
            if self.rank != get_rank() or self.mode != kwargs['mode'] or runner.iter < self.at - 1:
                return
            print(f'process {self.rank}, {self.how} at {time.time()}', flush=True)
            if self.how == 'raise':
                raise RuntimeError('the memory of this process is gone')
            if self.how == 'exit':
                os._exit(3)
            if self.how in ('kill', 'stop'):
                os.kill(os.getpid(), signal.SIGKILL if self.how == 'kill' else signal.SIGTERM)
            self.rank = None

        student_of(runner).register_forward_pre_hook(strike, with_kwargs=True)


@HOOKS.register_module()
class SlowSave(Hook):
    """Takes its time with each checkpoint."""

    def __init__(self, seconds):
        self.seconds = seconds

    def before_save_checkpoint(self, runner, checkpoint):
        time.sleep(self.seconds)


@METRICS.register_module()
class Confidence(BaseMetric):
    """Mean of the largest logit, which shows every change of the model."""

    default_prefix = 'confidence'

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            largest = sample['logits'].amax(1).tolist()
            self.results.extend(zip(sample['indices'].tolist(), largest, strict=True))

    def compute_metrics(self, results):
        largest = dict(results).values()
        return {'mean': sum(largest) / len(largest)}


@MODELS.register_module()
class DoublePreprocessor(ImagePreprocessor):
    """Gives images of the default dtype."""

    def forward(self, data, training=False):
        dtype = torch.get_default_dtype()
        torch.set_default_dtype(torch.float32)
        data = super().forward(data, training)
        torch.set_default_dtype(dtype)
        images = data['inputs']
        several = isinstance(images, list)
        data['inputs'] = [view.to(dtype) for view in images] if several else images.to(dtype)
        return data


class Watch(Hook):
    """Notes what a process sees and computes.

    Attributes:
        gradients: of each step, by the parameters' names, those of the method too.
        batches: of each step, indices or image ids of this process, and its student's inputs.
        rows: of each step, this process's number of rows of logits, and of those of the foreground.
    """

    def __init__(self, frozen):
        self.frozen = frozen
        self.gradients, self.batches, self.rows = [], [], []

    def before_train(self, runner):
        student = student_of(runner)
        named = dict(student.named_parameters())
        for hook in runner.hooks:
            if isinstance(hook, DistillHook):
                named.update(hook.method.named_parameters())
                hook.watchers.append(self.count_rows)
        runner.optim_wrapper.optimizer.register_step_pre_hook(
            lambda *_: self.gradients.append(
                {name: p.grad.clone() for name, p in named.items() if p.grad is not None}
            )
        )
        student.register_forward_pre_hook(self.note_batch, with_kwargs=True)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if self.frozen and isinstance(module, _BatchNorm):
                module.eval()

    def note_batch(self, module, args, kwargs):
        if kwargs['mode'] == 'loss':
            samples = kwargs['data_samples']
            classified = isinstance(samples, dict)
            numbers = samples['indices'].tolist() if classified else [s.img_id for s in samples]
            self.batches.append((numbers, kwargs['inputs']))

    def count_rows(self, batch):
        labels, background = batch.logits.labels.tolist(), batch.logits.background
        self.rows.append((len(labels), sum(label != background for label in labels)))


def student_of(runner):
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


def register_detection():
    """A sampler that draws no random numbers, and a detector whose guesses are partly right."""
    from mmdet.models.task_modules import RandomSampler
    from mmdet.registry import TASK_UTILS
    from mmengine.model import BaseModel
    from mmengine.structures import InstanceData

    @TASK_UTILS.register_module()
    class FirstSampler(RandomSampler):
        def random_choice(self, gallery, num):
            return gallery[:num]

    @MODELS.register_module()
    class Guesser(BaseModel):
        def __init__(self, data_preprocessor=None):
            super().__init__(data_preprocessor)
            self.weight = torch.nn.Parameter(torch.zeros(1))  # DDP wants one

        def forward(self, inputs, data_samples, mode='tensor'):
            for sample in data_samples:
                draw = torch.Generator().manual_seed(sample.img_id)
                truth = sample.gt_instances
                boxes = truth.bboxes + torch.randn(len(truth.bboxes), 4, generator=draw) * 2
                wrong = torch.rand(len(boxes), generator=draw) < 0.2
                sample.pred_instances = InstanceData(
                    bboxes=boxes,
                    labels=torch.where(wrong, (truth.labels + 1) % 12, truth.labels),
                    scores=torch.rand(len(boxes), generator=draw),
                )
            return data_samples


def run(job, processes):
    """Do one job; what came of it in this process."""
    cfg = Config.fromfile(job['config'])
    cfg.launcher = 'pytorch' if processes > 1 else 'none'
    cfg.work_dir = f'{job["folder"]}/{processes}'
    cfg.experiment_name = f'{job["name"]}-{processes}'
    cfg.train_dataloader.batch_size //= processes
    cfg.merge_from_dict({'env_cfg.dist_cfg.backend': 'gloo'})  # NCCL wants a GPU a process
    torch.backends.cudnn.allow_tf32 = False
    if 'visualizer' in cfg:
        cfg.visualizer.name = cfg.experiment_name
    torch.set_default_dtype(getattr(torch, job.get('dtype', 'float32')))
    watch = Watch(job.get('frozen', False))
    prepare(cfg, ())
    runner = build_runner(cfg)
    unused = getattr(runner.model, 'find_unused_parameters', None)
    result = {'code': None, 'find_unused_parameters': unused}
    if job.get('test'):
        result['metrics'] = runner.test()
    else:
        runner.register_hook(watch)
        try:
            runner.train()
        except SystemExit as error:
            result['code'] = error.code
        result['weights'] = student_of(runner).state_dict()
    return {**result, 'gradients': watch.gradients, 'batches': watch.batches, 'rows': watch.rows}


def be_process(rank, processes, port, jobs):
    """Do the jobs one after the other, as one of several processes."""
    gpu = 0 if jobs[0]['device'] == 'cuda' else rank
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(gpu), WORLD_SIZE=str(processes),
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port),
    )  # fmt: skip
    for job in jobs:
        start = time.time()
        result = run(job, processes)
        print(
            f'{job["name"]}: {processes} processes, {time.time() - start:.1f} s',
            flush=True,
        )
        torch.save(result, f'{job["folder"]}/{processes}-{rank}.pth')
        barrier()


def start(rank, processes, port, path):
    """The process id of a fresh Python that does the jobs: CUDA does not survive a fork."""
    arguments = map(str, (__file__, path, rank, processes, port))
    return subprocess.Popen([sys.executable, *arguments]).pid


def fork(rank, processes, port, jobs):
    """The process id of a child that does the jobs and exits with 0, or prints its error."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        be_process(rank, processes, port, jobs)
        code = 0
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def prepare_once(jobs):
    """What all children would do otherwise, each again: imports, kernels, MMDetection's configs."""
    mmengine.config.utils.load = functools.cache(mmengine.config.utils.load)
    if any(job.get('detection') for job in jobs):
        import sortkd_det.detection  # noqa: F401

        register_detection()
        Config.fromfile('configs/toy/teacher.py')
    for dtype in (torch.float32, torch.float64):
        sort_logits(torch.eye(2, dtype=dtype), torch.tensor([0, 0]))
    mmengine.config.config.FormatCode = lambda text, **options: (text, True)  # a third of a run


def main(path, *place):
    jobs = json.loads(Path(path).read_text())
    prepare_once(jobs)
    if place:
        rank, processes, port = map(int, place)
        be_process(rank, processes, port, [job for job in jobs if processes in job['processes']])
        return
    for processes in dict.fromkeys(number for job in jobs for number in job['processes']):
        port = free_port()
        mine = [job for job in jobs if processes in job['processes']]
        if mine[0]['device'] == 'cuda':
            children = [start(rank, processes, port, path) for rank in range(processes)]
        else:
            children = [fork(rank, processes, port, mine) for rank in range(processes)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        if any(codes):
            sys.exit(f'{processes} processes exited {codes}')


if __name__ == '__main__':
    sys.modules['worker'] = sys.modules['__main__']
    main(*sys.argv[1:])
