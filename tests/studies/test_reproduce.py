"""tools/reproduce.py: published figures, and a table of runs of seconds."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
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
    assert '6 runs; about' in run_tool(*arguments, '--dry-run', '--images', 12)
    assert not (tmp_path / 'work').exists()
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
    assert 'sortkd − kd over seeds' in (tmp_path / 'work/report.html').read_text()
    assert run_tool(*arguments).count(': started') == 0
    (tmp_path / 'work/kd/seed0').rename(tmp_path / 'away')
    assert run_tool(*arguments).count(': started') == 1


@pytest.fixture
def reproduce():
    """``reproduce(*arguments)``: the tool in this process."""
    spec = importlib.util.spec_from_file_location('reproduce', REPO / 'tools/reproduce.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return lambda *arguments: tool.main(tool.get_parser().parse_args([*map(str, arguments)]))


def test_what_is_finished_has_a_page_with_the_published_figures(reproduce, capsys, tmp_path):
    pair, work = 'resnet32x4-resnet8x4', tmp_path / 'work'
    for method, values in (('student', (72.5, 72.0)), ('kd', (73.0, 73.2))):
        for seed, value in enumerate(values):
            folder = work / pair / method / f'seed{seed}'
            folder.mkdir(parents=True)
            options = dict(cfg_options=[], data_root=None, gpus=1)
            result = dict(options=options, metrics={'accuracy/top1': value})
            (folder / 'result.json').write_text(json.dumps(result))
    arguments = [CIFAR, '--pairs', pair, '--methods', 'student', 'kd', '--seeds', 0, 1]
    arguments += ['--work-dir', work]
    reproduce(*arguments)
    assert 'student − kd over seeds -0.85 ' in capsys.readouterr().out
    text = (work / 'report.html').read_text()
    for said in ('published', '73.33', '72.50', 'student − kd over seeds -0.85 ', pair):
        assert said in text
    reproduce(*arguments, '--baseline', 'student', '--report', tmp_path / 'new/page.html')
    assert 'kd − student over seeds +0.85 ' in (tmp_path / 'new/page.html').read_text()
    with pytest.raises(ValueError, match='--baseline studnet: there is no method studnet'):
        reproduce(*arguments, '--baseline', 'studnet')


def test_a_run_that_fails_is_named_with_its_log(pictures, tmp_path):
    config = write_config(tmp_path, pictures, 'nowhere.pth')
    output = run_tool(config, '--methods', 'kd', '--work-dir', tmp_path / 'work', code=1)
    assert re.search(r'kd/seed0 failed \(exit code 1\), see .*output\.log.*nowhere\.pth', output)
