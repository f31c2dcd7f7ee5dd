"""Detectors in real runs, on generated images."""

import copy

import pytest
import torch
from small_runs import assert_same, ending
from thin_detectors import FAMILIES, build, rows_of, thin

from sortkd_det.checkpoints import newest_checkpoint
from sortkd_det.hooks import DistillHook
from sortkd_det.hooks.teacher_audit_hook import count_by_class, summarise
from sortkd_det.studies.teacher_loop import make_analysis

NUM_CLASSES = 12
NUM_ITERS = 4
OTHERS = ['RetinaNet', 'FSAF', 'FCOS', 'TOOD', 'AutoAssign', 'YOLOX', 'RTMDet', 'SSD']
OTHERS += ['PISA', 'SABL Cascade', 'Sparse R-CNN', 'DETR', 'DINO', 'MaskFormer', 'Mask2Former']
each_quick_or_slow = pytest.mark.parametrize(
    'name',
    ['GFL', 'Cascade R-CNN', *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)],
)


@pytest.fixture
def run_of(detector, tmp_path):
    """The config of a run of four iterations, with the audit: ``run_of(family, **adapter)``."""

    def make(name, **adapter):
        cfg = copy.deepcopy(detector)
        config = thin(FAMILIES[name], NUM_CLASSES)
        cfg.model = config.model
        path = tmp_path / f'{name}.pth'
        classes = cfg.train_dataloader.dataset.metainfo.classes
        model = build(FAMILIES[name], 1, NUM_CLASSES)
        torch.save(
            {'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': classes}}}, path
        )
        loaders = [cfg.train_dataloader, cfg.val_dataloader]
        for step in (step for loader in loaders for step in loader.dataset.pipeline):
            if step.type == 'LoadAnnotations':
                step.with_mask = FAMILIES[name].masks
        distill = cfg.custom_hooks[0]
        distill.teacher = dict(config=dict(model=config.model), checkpoint=str(path))
        distill.adapter = adapter or None
        cfg.custom_hooks[1].update(interval=2, grad_interval=1)
        cfg.train_cfg.update(max_iters=NUM_ITERS, val_interval=NUM_ITERS)
        if name == 'SSD':  # MMDetection 3.3 cannot test it: its head has not the loss_cls asked for
            cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
        cfg.default_hooks.checkpoint.pop('save_best')
        return cfg

    return make


def distill_hook(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, DistillHook))


@each_quick_or_slow
def test_a_resumed_run_ends_as_the_other(name, run_of, start, tmp_path):
    """To the bit, with what the audit has counted; the checkpoint is MMDetection's own."""
    cfg = run_of(name)
    whole = start(cfg, work_dir=str(tmp_path / 'whole'))
    whole.train()
    short = copy.deepcopy(cfg)
    short.train_cfg.update(max_iters=2)
    start(short, work_dir=str(tmp_path / 'parts')).train()
    resumed = start(cfg, work_dir=str(tmp_path / 'parts'), resume=True)
    resumed.train()
    assert_same(ending(whole), ending(resumed))

    checkpoint = torch.load(newest_checkpoint(whole.work_dir), weights_only=True)
    build(FAMILIES[name], 2, NUM_CLASSES).load_state_dict(checkpoint['state_dict'], strict=True)


@pytest.mark.parametrize(
    ('name', 'negatives'),
    [
        pytest.param('GFL', 'none', marks=pytest.mark.slow),
        ('GFL', 5),
        pytest.param('Mask2Former', 'none', marks=pytest.mark.slow),
    ],
)
def test_the_audit_counts_what_was_taught(name, negatives, run_of, start):
    """Of rows whose label is no column, background's chances; a table with a row for it."""
    options = dict(type='DenseHeadAdapter', negatives=negatives) if name == 'GFL' else {}
    runner = start(run_of(name, **options))
    batches, scalars, lines = [], {}, []
    distill_hook(runner).watchers.append(lambda batch: batches.append(batch.logits))
    runner.logger.info = lambda text, *args, **kwargs: lines.append(str(text))
    runner.train()
    history = runner.message_hub.log_scalars
    counts = sum(count_by_class(batch) for batch in batches[2:])
    expected = summarise(counts.cpu(), NUM_CLASSES)
    for key, value in expected.items():
        scalars[key] = history[f'train/teacher/{key}'].data[0][-1]
        assert scalars[key] == pytest.approx(value)
    labels = torch.cat([batch.labels for batch in batches])
    assert ('bg_top1' in expected) == (negatives != 'none')
    assert (labels == NUM_CLASSES).any() == (negatives != 'none')
    table = next(line for line in lines if 'teacher on the training samples' in line)
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in table.splitlines()]
    found = {row[0]: int(row[1]) for row in rows if len(row) == 7 and row[1].isdigit()}
    names = [*runner.train_dataloader.dataset.metainfo['classes'], 'background']
    assert found == {
        names[label]: number
        for label, number in zip(*labels.unique(return_counts=True), strict=True)
    }
    for name in ('loss_cls', 'loss_distill'):
        assert min(history[f'train/grad_norm/{name}'].data[0]) > 0


@pytest.mark.parametrize('name', rows_of(FAMILIES, quick={'GFL', 'DINO', 'Mask R-CNN'}))
def test_a_teacher_of_each_family_is_looked_at_as_its_own_student(name, run_of, start):
    cfg = run_of(name)
    make_analysis(cfg, 8)
    runner = start(cfg)
    if FAMILIES[name].semantic:
        with pytest.raises(ValueError, match='asks for annotations that the data of this config'):
            runner.train()
        return
    runner.train()
    assert runner.train_loop.images == 8
    assert runner.train_loop.analysis.objects.rows > 0
    weights = runner.model.state_dict()
    for key, value in torch.load(cfg.load_from, weights_only=True)['state_dict'].items():
        assert torch.equal(weights[key], value), key
