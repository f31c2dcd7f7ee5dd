"""The documents, run as they stand: configs of docs/methods.md, the files of docs/extending.md."""

import re
import shutil
from pathlib import Path

import pytest
import torch

from sortkd_det.distill import LogitBatch, Method

REPO = Path(__file__).parents[2]


def blocks(document: str) -> list[str]:
    """The Python blocks of a document, in order."""
    return re.findall(r'```python\n(.*?)```', (REPO / document).read_text(), re.DOTALL)


METHODS = [block for block in blocks('docs/methods.md') if 'method = ' in block]


@pytest.mark.parametrize('block', METHODS)
def test_every_config_of_the_methods_page_gives_a_loss(block):
    names: dict = {}
    exec(block, names)
    generator = torch.Generator().manual_seed(0)
    student, teacher = 2 * torch.randn(2, 16, 5, generator=generator)
    labels = torch.randint(5, (16,), generator=generator)
    pairs = LogitBatch(student.requires_grad_(), teacher, labels, torch.ones(16), background=4)
    total = sum(Method(names['method'])(pairs, now=1).values())
    total.backward()
    assert float(total.detach()) > 0
    assert student.grad.abs().sum() > 0


def test_the_methods_page_shows_every_registered_name():
    from sortkd_det.cli.registered import registered

    text = (REPO / 'docs/methods.md').read_text()
    kinds = registered()
    shown = {**kinds['Processors'], **kinds['Losses and temperatures']}
    assert {'SortLogits', 'KDLoss', 'LearnableTemperature'} <= set(shown)
    assert [name for name in shown if f"'{name}'" not in text] == []


def test_the_methods_page_names_every_method_config():
    text = (REPO / 'docs/methods.md').read_text()
    for path in (REPO / 'configs/_base_/methods').glob('*.py'):
        assert f'`{path.stem}`' in text, path.stem


def test_the_command_of_the_methods_page_lists_the_names(run_python):
    lines = run_python('tools/list_methods.py').stdout.splitlines()
    assert any(line.split()[:1] == ['SortLogits'] and len(line.split()) > 4 for line in lines)
    assert any(line.split()[:1] == ['RoIHeadAdapter'] for line in lines)


def test_a_processor_and_a_loss_of_ones_own_train(tmp_path, toy_data, random_teacher, run_python):
    own, method = blocks('docs/extending.md')
    shutil.copytree(REPO / 'configs', tmp_path / 'configs')
    (tmp_path / 'my_methods.py').write_text(own)
    (tmp_path / 'my_method.py').write_text(method)
    checkpoint = tmp_path / 'work_dirs/demo/teacher/epoch_14.pth'
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(random_teacher, checkpoint)
    done = run_python(
        REPO / 'tools/train.py', 'configs/toy/student.py', '--method', 'my_method.py',
        '--teacher', 'configs/toy/teacher.py', '--teacher-checkpoint', checkpoint,
        '--data-root', toy_data, '--cfg-options',
        'train_cfg.max_epochs=1', 'train_cfg.val_interval=9', 'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=1', 'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        cwd=tmp_path, env={'PYTHONPATH': '.'},
    )  # fmt: skip
    losses = [float(value) for value in re.findall(r'loss_distill: ([0-9.]+)', done.stdout)]
    assert len(losses) == 3
    assert min(losses) > 0
    assert (tmp_path / 'work_dirs/student/teacher/my_method/epoch_1.pth').is_file()
