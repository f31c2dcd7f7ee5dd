"""tools/reproduce.py: published figures, and a table of runs of seconds."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from mmengine.config import Config

from sortkd_det.cli.config import run_config
from sortkd_det.studies.reproduce import published

REPO = Path(__file__).parents[2]
CIFAR = REPO / 'configs/cifar100.py'


def test_every_pair_of_the_table_has_its_published_student():
    figures = published(REPO / 'configs/published_top1.csv', 'CIFAR-100')
    assert figures['resnet32x4resnet8x4', 'student'] == '72.50'
    assert figures['resnet32x4resnet8x4', 'KD'] == '73.33'
    assert figures['resnet32x4resnet8x4', 'ranking alignment'] == '77.97'
    pairs = Config.fromfile(CIFAR).pairs
    assert len(pairs) == 11
    for name in pairs:
        plain = re.sub(r'[^a-z0-9]', '', name.lower())
        assert (plain, 'student') in figures, name


def run_tool(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, 'tools/reproduce.py', *map(str, arguments)], cwd=REPO,
        capture_output=True, text=True, timeout=300, env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_config(folder, pictures, teacher_weights):
    """The config of a data set of pictures, with one pair of teacher and student."""
    cfg = run_config(
        REPO / 'configs/clothing/student.py',
        data_root=str(pictures),
        cfg_options={
            'model.num_classes': 3,
            'train_dataloader.batch_size': 6,
            'train_dataloader.dataset.size': 20,
            'train_cfg.max_epochs': 1,
            'train_cfg.val_interval': 1,
            'default_hooks.checkpoint.interval': 1,
        },
    )
    for name in ('work_dir', 'launcher'):
        cfg.pop(name)
    cfg.pairs = {'tiny': dict(teacher='resnet14', checkpoint=str(teacher_weights))}
    cfg.dump(folder / 'tiny.py')
    return folder / 'tiny.py'


def test_a_table_is_run_once_and_shown_with_differences(pictures, teacher_weights, tmp_path):
    config = write_config(tmp_path, pictures, teacher_weights)
    arguments = [
        config, '--methods', 'student', 'kd', 'sortkd', '--seeds', 0, 1,
        '--work-dir', tmp_path / 'work', '--jobs', 2,
    ]  # fmt: skip
    assert '6 runs; about' in run_tool(*arguments, '--dry-run', '--num-images', 12)
    first = run_tool(*arguments, '--part', '1/2')
    assert first.count(': started') == 3
    second = run_tool(*arguments)
    assert second.count(': started') == 3  # the other half
    runs = json.loads((tmp_path / 'work/results.json').read_text())['runs']
    assert len(runs) == 6
    for run in runs.values():
        assert 0 <= run['metrics']['accuracy/top1'] <= 100
        assert f'randomness.seed={run["seed"]}' in run['command']
    assert re.search(r'sortkd .* ± .*\(2\).*to kd: [+-]\d', second)
    assert run_tool(*arguments).count(': started') == 0
    (tmp_path / 'work/kd/seed0').rename(tmp_path / 'away')
    assert run_tool(*arguments).count(': started') == 1


def test_a_run_that_fails_is_named_with_its_log(pictures, tmp_path):
    config = write_config(tmp_path, pictures, 'nowhere.pth')
    output = run_tool(config, '--methods', 'kd', '--work-dir', tmp_path / 'work', code=1)
    assert re.search(r'kd/seed0 failed \(exit code 1\), see .*output\.log.*nowhere\.pth', output)
