"""The real tools in processes of their own, on a handful of generated images."""

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from ports import free_port

REPO = Path(__file__).parents[2]
SMALL = [
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=1',
    'train_cfg.val_interval=1',
]


@pytest.fixture(scope='module')
def distilled(tmp_path_factory, toy_data, random_teacher):
    """Two epochs of SortKD by tools/train.py; returns the work dir and what was printed."""
    work_dir = tmp_path_factory.mktemp('distilled')
    printed = run_tool(
        'tools/train.py', 'configs/toy/sortkd.py', *common(work_dir, toy_data, epochs=2),
        '--teacher-checkpoint', random_teacher,
    )  # fmt: skip
    return work_dir, printed


def common(work_dir, data_root, epochs=1, *options):
    """Arguments that make any toy config a run of seconds."""
    return [
        '--work-dir', work_dir, '--data-root', data_root,
        '--cfg-options', *SMALL, f'train_cfg.max_epochs={epochs}', *options,
    ]  # fmt: skip


def run_tool(*arguments, code=0, cwd=REPO, env=None):
    """Run a tool with the interpreter of the tests; its output, if it exits with ``code``."""
    import sys

    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True,
        timeout=400, env={**os.environ, **(env or {})},
    )  # fmt: skip
    output = done.stdout + done.stderr
    assert done.returncode == code, output[-4000:]
    return output


def scalars(work_dir):
    """Every entry of the run's JSON log, oldest first."""
    logs = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for log in logs for line in log.read_text().splitlines()]


def test_train_logs_the_distillation_and_the_audit(distilled):
    work_dir, printed = distilled
    entries = [entry for entry in scalars(work_dir) if 'loss' in entry]
    assert entries
    for entry in entries:
        assert entry['loss_distill'] > 0
        parts = [v for k, v in entry.items() if 'loss' in k and k != 'loss' and 'share' not in k]
        assert entry['loss'] == pytest.approx(sum(parts), rel=1e-4)
    assert 'teacher on 6 images of the validation set: coco/bbox_mAP' in printed
    assert 'teacher on the training samples, per class' in printed
    assert re.search(r'wrote .*epoch_2\.pth', printed)


def test_the_distilled_checkpoint_is_a_plain_student_checkpoint(distilled):
    work_dir, _ = distilled
    checkpoint = torch.load(work_dir / 'epoch_2.pth', weights_only=True)  # no allow-list
    from mmengine.registry import MODELS, DefaultScope

    config = Config.fromfile(REPO / 'configs/toy/student.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        student = MODELS.build(config.model)
    student.load_state_dict(checkpoint['state_dict'], strict=True)
    assert set(checkpoint) <= {
        'meta', 'state_dict', 'message_hub', 'optimizer', 'param_schedulers', 'sortkd_det',
    }  # fmt: skip
    assert set(checkpoint['sortkd_det']) == {'audit'}  # its counts, for a run that goes on
    assert len(checkpoint['optimizer']['state']) == len(
        [p for p in student.parameters() if p.requires_grad]
    )


def test_resume_continues_weights_optimizer_schedule_and_logs(
    distilled, tmp_path, toy_data, random_teacher
):
    first, _ = distilled
    arguments = [
        'tools/train.py', 'configs/toy/sortkd.py', *common(tmp_path, toy_data, 3),
        '--teacher-checkpoint', random_teacher,
    ]  # fmt: skip
    printed = run_tool(*arguments, '--resume', first / 'epoch_2.pth')
    assert 'resumed epoch: 2, iter: 6' in printed
    epochs = [entry['epoch'] for entry in scalars(tmp_path) if 'loss' in entry]
    assert set(epochs) == {3}
    before = torch.load(first / 'epoch_2.pth', weights_only=True)
    after = torch.load(tmp_path / 'epoch_3.pth', weights_only=True)
    assert after['meta']['epoch'] == 3
    steps = {float(entry['step']) for entry in after['optimizer']['state'].values()}
    assert steps == {9.0}
    earlier, history = (
        checkpoint['message_hub']['log_scalars']['train/loss']['log_history'].tolist()
        for checkpoint in (before, after)
    )
    assert history[:6] == earlier
    assert len(history) == 9
    # Without a path the latest checkpoint of the work dir is taken up: nothing is left to do.
    assert 'resumed epoch: 3' in run_tool(*arguments, '--resume')


STOCK = """
import sys
sys.modules['sortkd_det'] = None  # `import sortkd_det` fails from here on
import json
from mmengine.config import Config
from mmengine.runner import Runner
config, checkpoint, data_root, work_dir, out = sys.argv[1:]
cfg = Config.fromfile(config)
cfg.work_dir, cfg.load_from = work_dir, checkpoint
runner = Runner.from_cfg(cfg)
from mmdet.evaluation import DumpDetResults
runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=out))
json.dump({k: float(v) for k, v in runner.test().items()}, open(out + '.json', 'w'))
assert not any(name.split('.')[0] == 'sortkd_det' for name in sys.modules if sys.modules[name])
"""


def test_stock_mmdetection_tests_the_checkpoint_without_this_package(distilled, tmp_path, toy_data):
    work_dir, _ = distilled
    checkpoint = work_dir / 'epoch_2.pth'
    ours, theirs, config = tmp_path / 'ours.pkl', tmp_path / 'theirs.pkl', tmp_path / 'student.py'
    printed = run_tool(
        'tools/test.py', 'configs/toy/sortkd.py', checkpoint, *common(tmp_path, toy_data),
        '--out', ours,
    )  # fmt: skip
    metrics = re.search(r'wrote (\S+), (\S+\.json); log', printed)
    assert metrics.group(1) == str(ours)
    assert 'coco/bbox_mAP' in json.loads(Path(metrics.group(2)).read_text())
    assert 'teacher' not in printed.split('Distributed training')[-1].split('Load checkpoint')[-1]
    run_tool(
        'tools/student_config.py', 'configs/toy/sortkd.py', '--out', config,
        *common(tmp_path, toy_data),
    )  # fmt: skip
    assert 'sortkd' not in config.read_text().replace(str(tmp_path), '')
    script = tmp_path / 'stock.py'
    script.write_text(STOCK)
    run_tool(script, config, checkpoint, toy_data, tmp_path / 'stock', theirs, cwd=tmp_path)
    import pickle

    for own, other in zip(
        pickle.loads(ours.read_bytes()), pickle.loads(theirs.read_bytes()), strict=True
    ):
        for key in ('bboxes', 'scores', 'labels'):
            assert torch.equal(own['pred_instances'][key], other['pred_instances'][key])


def test_flips_reach_every_part_of_wrapped_data():
    spec = importlib.util.spec_from_file_location('tool_test', REPO / 'tools/test.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    cfg = Config.fromfile(REPO / 'configs/toy/student.py')
    plain = cfg.test_dataloader.dataset
    parts = [plain, dict(type='RepeatDataset', times=2, dataset=plain)]
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)
    tool.use_flips(cfg)
    first, second = cfg.test_dataloader.dataset.datasets
    for dataset in (first, second.dataset):
        assert [t.type for t in dataset.pipeline] == [
            *(t.type for t in plain.pipeline[:-1]), 'TestTimeAug',
        ]  # fmt: skip


def test_two_processes_train_together_and_test(distilled, tmp_path, toy_data, random_teacher):
    work_dir = tmp_path / 'gloo'
    environment = {'PORT': str(free_port()), 'PYTHON': __import__('sys').executable}
    arguments = [
        'bash', 'tools/dist_train.sh', 'configs/toy/sortkd.py', '2',
        *common(work_dir, toy_data), '--teacher-checkpoint', random_teacher,
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, arguments)), cwd=REPO, capture_output=True, text=True, timeout=400,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    checkpoint = torch.load(work_dir / 'epoch_1.pth', weights_only=True)
    assert not any(key.startswith('module.') for key in checkpoint['state_dict'])
    assert checkpoint['meta']['iter'] == 2  # 12 images, 2 processes of 4
    single, _ = distilled
    expected = {k for k, v in next(e for e in scalars(single) if 'loss' in e).items() if v}
    assert expected - {'teacher/bg_top1'} <= set(next(e for e in scalars(work_dir) if 'loss' in e))
    arguments = [
        'bash', 'tools/dist_test.sh', 'configs/toy/sortkd.py', work_dir / 'epoch_1.pth', '2',
        *common(tmp_path / 'test', toy_data),
    ]  # fmt: skip
    done = subprocess.run(
        list(map(str, arguments)), cwd=REPO, capture_output=True, text=True, timeout=400,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert 'coco/bbox_mAP' in done.stdout + done.stderr


def test_stock_configs_run_through_our_tools(tmp_path, toy_data):
    """A config of MMDetection's own, inherited; nothing of ours in it."""
    config = tmp_path / 'stock.py'
    config.write_text(
        "_base_ = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'\n"
        'model = dict(bbox_head=dict(num_classes=12), backbone=dict(init_cfg=None))\n'
        f"data = dict(data_root='{toy_data}/', metainfo=dict(classes={classes(toy_data)}))\n"
        'train_dataloader = dict(dataset=dict(\n'
        '    ann_file="annotations/train.json", data_prefix=dict(img="train/"), **data))\n'
        'val_dataloader = dict(dataset=dict(\n'
        '    ann_file="annotations/val.json", data_prefix=dict(img="val/"), **data))\n'
        'test_dataloader = val_dataloader\n'
        f"val_evaluator = dict(ann_file='{toy_data}/annotations/val.json')\n"
        'test_evaluator = val_evaluator\n'
    )
    printed = run_tool(
        'tools/train.py', config, *common(tmp_path / 'work', toy_data),
        'train_dataloader.dataset.pipeline.2.scale=(96,96)',
        'val_dataloader.dataset.pipeline.1.scale=(96,96)',
    )  # fmt: skip
    assert 'epoch_1.pth' in printed
    assert 'Epoch(val)' in printed
    torch.load(tmp_path / 'work/epoch_1.pth', weights_only=True)


def classes(root):
    """The class names of the generated data."""
    categories = json.loads((Path(root) / 'annotations/train.json').read_text())['categories']
    return tuple(category['name'] for category in categories)
