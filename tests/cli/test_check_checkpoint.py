"""tools/check_checkpoint.py: what is in a checkpoint, and whether it fits."""

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from mmengine.logging import HistoryBuffer
from safetensors.torch import save_file

from sortkd_det.checkpoints import CheckpointRefused

REPO = Path(__file__).parents[2]
TOY = str(REPO / 'configs/toy/student.py')
TEACHER = str(REPO / 'configs/toy/teacher.py')


@pytest.fixture
def check(monkeypatch, capsys):
    """``check(*arguments)``: run the tool's own main; returns the rows of its table."""
    spec = importlib.util.spec_from_file_location('tool', REPO / 'tools/check_checkpoint.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(REPO)

    def run(*arguments):
        tool.main(tool.get_parser().parse_args([str(each) for each in arguments]))
        return rows_of(capsys.readouterr().out)

    return run


def rows_of(printed):
    """What the table holds, by the first cell of each row."""
    cells = [line.strip('|').split('|') for line in printed.splitlines() if line[:1] == '|']
    return {row[0].strip(): row[1].strip() for row in cells if row[0].strip()}


@pytest.mark.parametrize(
    ('as_zip', 'said'),
    [(True, 'torch.save, a zip'), (False, 'torch.save, as before torch 1.6')],
)
def test_it_says_what_a_run_left(tmp_path, check, as_zip, said):
    content = {
        'state_dict': {'w': torch.ones(2, 3), 'n': torch.tensor(1)},
        'ema_state_dict': {'w': torch.ones(2, 3)},
        'meta': {'epoch': 3, 'iter': 12, 'seed': 5, 'dataset_meta': {'classes': ('cat', 'dog')}},
        'message_hub': {'log_scalars': {'loss': HistoryBuffer([1.0], [1])}, 'runtime_info': {},
                        'resumed_keys': {}},
        'optimizer': {},
    }  # fmt: skip
    torch.save(content, tmp_path / 'x.pth', _use_new_zipfile_serialization=as_zip)
    assert check(tmp_path / 'x.pth') == {
        'format': said,
        'keys': 'state_dict, ema_state_dict, meta, message_hub, optimizer',
        "weights, under 'state_dict'": '2 tensors (1 float32, 1 int64) of 7 numbers',
        "weights, under 'ema_state_dict'": '1 tensors (1 float32) of 6 numbers',
        'meta.epoch': '3',
        'meta.iter': '12',
        'meta.seed': '5',
        'classes': '2: cat, dog',
        '--resume': 'possible; param_schedulers begin anew, they are not in it',
    }


def test_weights_alone_cannot_be_resumed_from(tmp_path, check):
    save_file({'w': torch.ones(4, dtype=torch.half)}, tmp_path / 'x.safetensors')
    rows = check(tmp_path / 'x.safetensors')
    assert rows['format'] == 'safetensors'
    assert rows["weights, under 'state_dict'"] == '1 tensors (1 float16) of 4 numbers'
    assert rows['--resume'].startswith('not possible, there is no meta and no message_hub')


def test_a_file_without_weights_says_so(tmp_path, check):
    torch.save({'epoch': 1}, tmp_path / 'x.pth')
    assert check(tmp_path / 'x.pth')['weights'] == 'none'


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_it_says_that_weights_fit(tmp_path, check, random_teacher, prefix):
    content = torch.load(random_teacher, weights_only=True)
    weights = {f'{prefix}{name}': value for name, value in content['state_dict'].items()}
    torch.save({**content, 'state_dict': weights}, tmp_path / 'x.pth')
    rows = check(tmp_path / 'x.pth', '--config', TEACHER)
    assert rows['model'].startswith('FasterRCNN of ')
    assert rows['prefix taken off'] == (prefix or 'none')
    assert rows['matching'] == str(len(weights))
    assert rows['missing'] == rows['unexpected'] == rows['of another shape'] == '0'


def test_weights_of_another_model_are_counted_and_refused(random_teacher, check, capsys):
    with pytest.raises(CheckpointRefused, match=r'do not fit this FasterRCNN .*another shape'):
        check(random_teacher, '--config', TOY)
    rows = rows_of(capsys.readouterr().out)
    assert int(rows['of another shape']) > 100
    assert int(rows['matching']) > 0


@pytest.mark.parametrize('change', ['order', 'number'])
def test_classes_are_compared_by_name(tmp_path, random_teacher, check, change):
    from mmengine.config import Config

    classes = list(Config.fromfile(TEACHER).train_dataloader.dataset.metainfo.classes)
    other = classes[::-1] if change == 'order' else classes[:-1]
    content = torch.load(random_teacher, weights_only=True)
    meta = {'dataset_meta': {'classes': classes}}
    torch.save({**content, 'meta': meta}, tmp_path / 'same.pth')
    assert check(tmp_path / 'same.pth', '--config', TEACHER)['classes compared'] == 'by name'
    meta['dataset_meta']['classes'] = other
    torch.save({**content, 'meta': meta}, tmp_path / 'other.pth')
    with pytest.raises(CheckpointRefused, match=f'names {len(other)} classes') as refused:
        check(tmp_path / 'other.pth', '--config', TEACHER)
    assert refused.value.place == 'meta.dataset_meta.classes'


def test_a_pair_of_a_table_says_which_network_it_is(tmp_path, check):
    torch.save({'state_dict': {'w': torch.ones(1)}}, tmp_path / 'x.pth')
    with pytest.raises(CheckpointRefused, match=r'do not fit this (?!ResNet56)\w+'):
        check(tmp_path / 'x.pth', '--config', 'configs/cifar100.py', '--pair', 'resnet56-resnet20')
    with pytest.raises(ValueError, match=r'--pair must be one of resnet56-resnet20, .*got None'):
        check(tmp_path / 'x.pth', '--config', 'configs/cifar100.py')
    with pytest.raises(ValueError, match=r'--pair a-b needs the config that it is of'):
        check(tmp_path / 'x.pth', '--pair', 'a-b')


def test_a_config_without_a_model_is_named(tmp_path, random_teacher, check):
    (tmp_path / 'empty.py').write_text('')
    with pytest.raises(ValueError, match=r'empty\.py: it has no model'):
        check(random_teacher, '--config', tmp_path / 'empty.py')


def test_a_name_of_mmdetections_is_a_config(random_teacher, check):
    name = 'mmdet::retinanet/retinanet_r18_fpn_1x_coco.py'
    with pytest.raises(CheckpointRefused, match='do not fit this RetinaNet'):
        check(random_teacher, '--config', name)


def test_a_refused_file_is_one_line_and_exit_1(tmp_path, run_python):
    class Gadget:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path / "canary"}',)

    torch.save({'state_dict': {}, 'meta': Gadget()}, tmp_path / 'x.pth')
    done = run_python('tools/check_checkpoint.py', tmp_path / 'x.pth', check=False)
    assert done.returncode == 1
    assert done.stdout == ''
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f'error: {tmp_path}/x.pth, at byte ')
    assert 'holds posix.system, which is none of the tensors' in line
    assert not (tmp_path / 'canary').exists()
