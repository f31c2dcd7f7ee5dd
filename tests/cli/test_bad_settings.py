"""Settings that cannot be."""

import os

import pytest
import torch
from command_lines import ALONE, DETECTOR, TAUGHT

ROWS = [
    pytest.param(
        ALONE + ' optim_wraper.optimizer.lr=1',
        ValueError,
        'no setting optim_wraper; is optim_wrapper meant?',
        id='a misspelled setting',
    ),
    pytest.param(
        ALONE + ' workdir=here',
        ValueError,
        'no setting workdir; is work_dir meant?',
        id='a misspelled setting that the config leaves to the runner',
    ),
    pytest.param(
        ALONE + ' seed=3',
        ValueError,
        'no setting seed; is randomness.seed meant?',
        id='a setting of MMDetection 2.x',
    ),
    pytest.param(
        ALONE + ' epochs=3',
        ValueError,
        'no setting epochs; expected one that a run reads',
        id='a setting that nothing reads',
    ),
    pytest.param(
        DETECTOR + ' classes=[cat,dog]',
        ValueError,
        ['classes=… would be without effect: classes is a variable of the config'],
        id='a variable that has been copied',
    ),
    pytest.param(
        TAUGHT + ' custom_hooks.7.student_weight=1',
        ValueError,
        ['--cfg-options custom_hooks.7.student_weight=… finds no place:', 'Index 7 exceeds'],
        id='a hook that is not there',
    ),
    pytest.param(
        ALONE + ' train_cfg.max_epochs.x=1',
        ValueError,
        '--cfg-options train_cfg.max_epochs.x=… finds no place',
        id='a setting within a number',
    ),
    pytest.param(
        ALONE + ' method.0.weight=2.0',
        ValueError,
        'would be without effect: nothing distils in this run; give --teacher and --method',
        id='a setting of a method where nothing distils',
    ),
    pytest.param(
        ALONE + ' data_root=nowhere',
        ValueError,
        ['would be without effect:', 'write --data-root DIR'],
        id='the data root as a variable',
    ),
    pytest.param(
        ALONE + ' train_cfg.max_epochs=0',
        ValueError,
        'train_cfg.max_epochs must be at least 1, got 0',
        id='no epochs',
    ),
    pytest.param(
        ALONE + ' train_cfg.max_epochs=0.5',
        TypeError,
        'train_cfg.max_epochs must be a whole number, got 0.5',
        id='half an epoch',
    ),
    pytest.param(
        ALONE + ' train_cfg.val_interval=0',
        ValueError,
        'train_cfg.val_interval must be at least 1, got 0',
        id='validation each 0 epochs',
    ),
    pytest.param(
        ALONE + ' default_hooks.logger.interval=0',
        ValueError,
        'default_hooks.logger.interval must be at least 1, got 0',
        id='logs each 0 iterations',
    ),
    pytest.param(
        ALONE + ' default_hooks.checkpoint.interval=0.5',
        TypeError,
        'default_hooks.checkpoint.interval must be a whole number, got 0.5',
        id='checkpoints each half epoch',
    ),
    pytest.param(
        ALONE + ' val_dataloader.batch_size=0',
        ValueError,
        'val_dataloader.batch_size must be at least 1, got 0',
        id='batches of 0',
    ),
    pytest.param(
        ALONE + ' train_dataloader.num_workers=-1',
        ValueError,
        'train_dataloader.num_workers must be at least 0, got -1',
        id='workers below 0',
    ),
    pytest.param(
        ALONE + ' train_dataloader.batch_size=[8,0]',
        ValueError,
        'train_dataloader.batch_size must be at least 1, got 0',
        id='batch sizes of which one is 0',
    ),
    pytest.param(
        ALONE + ' custom_hooks=5',
        TypeError,
        'custom_hooks must be a list of hooks, got 5',
        id='a number where hooks belong',
    ),
    pytest.param(
        ALONE + ' env_cfg=5',
        TypeError,
        'env_cfg must be settings in a dict, got 5',
        id='a number where settings belong',
    ),
    pytest.param(
        ALONE + ' train_dataloader.dataset=CIFAR',
        TypeError,
        "train_dataloader.dataset must be settings in a dict, got 'CIFAR'",
        id='a name where a data set belongs',
    ),
    pytest.param(
        ALONE + ' train_cfg.max_epochs=99999999999999999999999',
        OverflowError,
        'too large',
        id='a number beyond all meaning',
    ),
    pytest.param(
        ALONE + ' model.data_preprocessor=None',
        TypeError,
        ['a batch for cifar/resnet8 must be', "got ['epoch',", ';', 'sortkd_det.ImagePrep'],
        id='a classifier without what prepares its images',
    ),
    pytest.param(
        ALONE + ' default_hooks.checkpoint.save_best=top1 default_hooks.checkpoint.save_last=False',
        ValueError,
        "save_best='top1' is none of the metrics of the validation: accuracy/top1,",
        id='the best by a metric that is not there',
    ),
    pytest.param(
        ALONE + ' randomness.seed=-1',
        ValueError,
        'randomness.seed must be at least 0, got -1',
        id='a seed below 0',
    ),
    pytest.param(
        ALONE + ' randomness.seed=4294967296',
        ValueError,
        'randomness.seed must be at most 4294967295, got 4294967296',
        id='a seed that NumPy does not take',
    ),
    pytest.param(
        ALONE + ' optim_wrapper.optimizer.lr=-1',
        ValueError,
        'optim_wrapper.optimizer.lr must be a finite number ≥ 0, got -1',
        id='a learning rate below 0',
    ),
    pytest.param(
        ALONE + ' optim_wrapper.optimizer.lr=low',
        TypeError,
        "optim_wrapper.optimizer.lr must be a number, got 'low'",
        id='a learning rate in words',
    ),
    pytest.param(
        ALONE + ' model.type=sortkd_det.cifar/resnet9',
        KeyError,
        ["unknown model 'sortkd_det.cifar/resnet9'; is one of these meant:", 'cifar/resnet8,'],
        id='an unknown network',
    ),
    pytest.param(
        DETECTOR + ' model.type=FasterRCN',
        KeyError,
        "unknown model 'FasterRCN'; is one of these meant: mmdet.FasterRCNN",
        id='an unknown detector',
    ),
    pytest.param(
        ALONE + ' train_dataloader.dataset.type=Image',
        KeyError,
        ["unknown dataset 'Image'; is one of these meant:", 'sortkd_det.ImageNet'],
        id='an unknown data set',
    ),
    pytest.param(
        ALONE + ' default_hooks.logger.type=Xyzzy',
        KeyError,
        ["unknown hook 'Xyzzy'; tools/list_methods.py lists", 'to be named in custom_imports'],
        id='an unknown hook that resembles none',
    ),
    pytest.param(
        TAUGHT + ' custom_hooks.0.type=DistillHook',
        KeyError,
        "unknown hook 'DistillHook'; is one of these meant: sortkd_det.DistillHook",
        id='a hook without its scope',
    ),
    pytest.param(
        ALONE + ' optim_wrapper.optimizer.type=AdamV',
        KeyError,
        "unknown optimizer 'AdamV'; is one of these meant: Adam",
        id='an unknown optimizer',
    ),
    pytest.param(
        ALONE + ' param_scheduler.type=CosineLR',
        KeyError,
        ["unknown parameter scheduler 'CosineLR'; is one of these meant:", 'CosineAnnealingLR'],
        id='an unknown schedule',
    ),
    pytest.param(
        ALONE + ' train_dataloader.collate_fn.type=colate',
        KeyError,
        ["unknown function 'colate'; is one of these meant:", 'collate'],
        id='an unknown collate_fn',
    ),
    pytest.param(
        ALONE + ' val_evaluator.type=Acuracy',
        KeyError,
        "unknown metric 'Acuracy'; is one of these meant: sortkd_det.Accuracy",
        id='an unknown metric',
    ),
    pytest.param(
        ALONE + ' model.num_clases=3',
        TypeError,
        "unexpected keyword argument 'num_clases'",
        id='a misspelled argument',
    ),
    pytest.param(
        DETECTOR + ' --amp',
        ValueError,
        '--amp needs a GPU, and torch sees none',
        id='half precision without a GPU',
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason='it would do here'),
    ),
    pytest.param(
        DETECTOR + ' --auto-scale-lr',
        ValueError,
        '--auto-scale-lr: this config has no auto_scale_lr.base_batch_size',
        id='no batch size to scale the rate from',
    ),
    pytest.param(
        ALONE + ' auto_scale_lr.base_batch_size=0',
        ValueError,
        'auto_scale_lr.base_batch_size must be at least 1, got 0',
        id='a batch size of 0 to scale the rate from',
    ),
    pytest.param(
        ALONE + ' --launcher pytorch',
        ValueError,
        'but RANK is not set: use tools/dist_train.sh',
        id='a launcher by hand',
    ),
    pytest.param(
        ALONE + ' --launcher slurm',
        ValueError,
        '--launcher slurm needs GPUs; on CPUs use tools/dist_train.sh',
        id='a launcher for GPUs without one',
        marks=pytest.mark.skipif(torch.cuda.is_available(), reason='it would do here'),
    ),
    pytest.param(
        ALONE + ' --work-dir {text}',
        FileExistsError,
        ['--work-dir:', 'text.txt cannot be a folder to write to', '; name another'],
        id='a work dir that is a file',
    ),
    pytest.param(
        ALONE + ' --work-dir {text}/work',
        NotADirectoryError,
        ['--work-dir:', 'text.txt/work cannot be a folder to write to'],
        id='a work dir within a file',
    ),
    pytest.param(
        ALONE + ' --work-dir /sys/work',
        PermissionError,
        '--work-dir: /sys/work cannot be a folder to write to',
        id='a work dir that may not be written',
        marks=pytest.mark.skipif(not os.path.isdir('/sys'), reason='it would do here'),
    ),
    pytest.param(
        ALONE + ' check_teacher=4',
        ValueError,
        '--cfg-options check_teacher=… would be without effect: nothing distils',
        id='images to test a teacher that there is not',
    ),
    pytest.param(
        TAUGHT + ' student_wieght=0.5',
        ValueError,
        'no setting student_wieght; is student_weight meant?',
        id='a misspelled setting of the distillation',
    ),
    pytest.param(
        TAUGHT + ' audit=20',
        ValueError,
        '--cfg-options audit=… finds no place: write audit.interval=…',
        id='an audit that is none',
    ),
]


@pytest.mark.parametrize(('command', 'exception', 'says'), ROWS)
def test_it_is_said_in_one_line(is_refused, command, exception, says):
    is_refused(command, exception, says)
