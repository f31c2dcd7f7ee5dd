"""The documents, run as they stand: configs of docs/methods.md, the files of docs/extending.md."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from every_loss import SHIPPED
from mmengine.config import Config
from mmengine.hub import get_config

from sortkd_det.cli.method_tables import documents, method_rows
from sortkd_det.distill import FeatureBatch, LogitBatch, Method
from sortkd_det.hooks import DistillHook
from sortkd_det.registry import ADAPTERS

REPO = Path(__file__).parents[2]
DOCUMENTS = [REPO / 'README.md', *sorted((REPO / 'docs').glob('*.md'))]


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
    rows = (student.requires_grad_(), teacher, labels, torch.ones(16))
    boxes = LogitBatch(*rows, activation='softmax', background=None, divisor=20.0)
    batch = LogitBatch(
        *rows,
        activation='softmax',
        background=4,
        find_boxes=lambda: boxes,
        find_box_loss=lambda bounded: student.square().mean(),
    )
    own, other = torch.randn(2, 5, 2, 3, 4, 4, generator=generator).unbind()
    features = FeatureBatch(list(own.requires_grad_()), list(other))
    method = Method(names['method'])
    total = sum(method(batch, 1, features).values())
    total.backward()
    assert float(total.detach()) > 0
    needs = method.needs
    assert (own.grad is not None) == ('features' in needs)
    assert (student.grad is not None) == (needs != {'features'})
    for given in (own, student):
        assert given.grad is None or given.grad.any()


def test_the_lists_of_methods_are_those_of_the_configs():
    for path, expected in documents(REPO).items():
        assert path.read_text(encoding='utf-8') == expected, 'python tools/list_methods.py --write'


@pytest.mark.parametrize(
    'path',
    [*DOCUMENTS, REPO / 'benchmarks/README.md'],
    ids=lambda path: str(path.relative_to(REPO)),
)
def test_files_that_a_document_names_are_there(path):
    rooms = 'benchmarks|configs|docs|requirements|sortkd_det|tests|tools'
    named = re.findall(
        rf'(?<![\w./:])((?:{rooms})/[\w./*-]*\w\.(?:py|sh|md|csv|txt|png))', path.read_text()
    )
    theirs = {'tools/misc/download_dataset.py'}  # MMDetection's
    pattern = {name: name.replace('NAME', '*') for name in set(named) - theirs}
    assert [name for name, glob in pattern.items() if not list(REPO.glob(glob))] == []


@pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)
def test_lines_and_cells_are_short_enough_to_be_read(path):
    text = re.sub(r'```.*?```', '', path.read_text(encoding='utf-8'), flags=re.DOTALL)
    for line in text.splitlines():
        if line.startswith('|'):
            assert max(len(cell.strip()) for cell in line.strip('|').split('|')) <= 120, line
        else:
            assert len(line) <= 110 or 'https://' in line, line


@pytest.mark.parametrize(('name', 'most'), [('README.md', 700), ('docs/architecture.md', 900)])
def test_what_is_read_first_is_short(name, most):
    assert len((REPO / name).read_text(encoding='utf-8').split()) <= most


def test_the_command_of_the_methods_page_lists_the_names(run_python):
    lines = run_python('tools/list_methods.py').stdout.splitlines()
    assert any(line.split()[:1] == ['SortLogits'] and len(line.split()) > 4 for line in lines)
    assert any(line.split()[:1] == ['RoIHeadAdapter'] for line in lines)


@pytest.mark.parametrize('kind', SHIPPED)
def test_a_shipped_loss_has_the_places_that_the_page_lists(kind):
    room, name = kind.__module__.split('.')[1:]
    test = REPO / f'tests/{room}/test_{name}.py'
    assert kind.__name__ in test.read_text(encoding='utf-8')
    assert any(kind.__name__ in method.losses for method in method_rows()), 'no config has it'
    assert re.search(r'^ *Source: \S', kind.__doc__, re.MULTILINE), 'its docstring has no Source:'


def test_a_processor_and_a_loss_of_ones_own_train(tmp_path, toy_data, random_teacher, run_python):
    own, method, _ = blocks('docs/extending.md')
    shutil.copytree(REPO / 'configs', tmp_path / 'configs')
    (tmp_path / 'my_methods.py').write_text(own)
    (tmp_path / 'my_method.py').write_text(method)
    checkpoint = tmp_path / 'work_dirs/teacher/epoch_14.pth'
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


@pytest.fixture
def retinanet(detector, tmp_path, save_random_weights):
    """SortKD for a thin RetinaNet, whose teacher is another one; two iterations."""
    model = get_config('mmdet::_base_/models/retinanet_r50_fpn.py').model
    model.backbone.update(depth=18, init_cfg=None)
    model.neck.update(in_channels=[64, 128, 256, 512], out_channels=32)
    model.bbox_head.update(num_classes=12, in_channels=32, feat_channels=32, stacked_convs=1)
    detector.model = model
    detector.train_cfg.update(max_iters=2, val_interval=3)
    teacher = Config(dict(detector.to_dict()))
    save_random_weights(teacher, tmp_path / 'retina.pth')
    hook = next(hook for hook in detector.custom_hooks if 'DistillHook' in hook.type)
    hook.teacher = dict(config=dict(model=model), checkpoint=str(tmp_path / 'retina.pth'))
    return detector


def test_the_adapter_of_ones_own_teaches_another_detector(retinanet, start):
    names: dict = {}
    *_, adapter = blocks('docs/extending.md')
    assert len([line for line in adapter.split('@')[1].splitlines() if line]) <= 20, 'too long'
    exec(adapter, names)
    try:
        runner = start(retinanet)
        hook = next(hook for hook in runner.hooks if isinstance(hook, DistillHook))
        batches, own = [], []
        hook.watchers.append(batches.append)
        loss_cls = runner.model.bbox_head.loss_cls
        loss_cls.register_forward_hook(lambda module, args, output: own.append(args))
        runner.train()
    finally:
        ADAPTERS.module_dict.pop('RetinaAdapter')
    assert type(hook.adapter) is names['RetinaAdapter']
    assert len(batches) == 2
    for batch, levels in zip(batches, (own[:5], own[5:]), strict=True):
        assert float(batch.distill_losses['loss_distill'].detach()) > 0
        found = (batch.logits.student, batch.logits.labels, batch.logits.weight)
        for rows, parts in zip(found, zip(*levels, strict=True), strict=True):
            assert torch.equal(rows, torch.cat(parts))
        assert (batch.logits.labels < 12).any()
        assert not torch.equal(batch.logits.student, batch.logits.teacher)
