"""Methods about features and boxes in real runs, on generated images."""

import copy
from dataclasses import replace

import pytest
import torch
from small_runs import assert_same, ending
from thin_detectors import DENSE, Family, build, thin

from sortkd_det.adapters import DenseHeadAdapter, FeatureAdapter
from sortkd_det.hooks import DistillHook

NUM_CLASSES = 12
SORT = dict(loss='KDLoss', processors=['SortLogits'])
LD = dict(of='boxes', loss=dict(type='KDLoss', temperature=10.0, loss_weight=0.25))
PKD = dict(loss=dict(type='PKDLoss', loss_weight=6.0), num_levels=4)
# A neck twice as wide as the student's: each level of the student needs a convolution.
WIDE = replace(
    DENSE['GFL'],
    options={**DENSE['GFL'].options, 'neck.out_channels': 32, 'bbox_head.in_channels': 32},
)
CENTERNET = Family(
    'centernet/centernet_r18_8xb16-crop512-140e_coco',
    {
        'neck.in_channels': 64,
        'neck.num_deconv_filters': [32, 16, 16],
        'neck.use_dcn': False,
    },
)


@pytest.fixture
def run_of(detector, tmp_path):
    """The config of a run of four iterations: ``run_of(student, teacher, method)``."""

    def make(student, teacher, method, **hook):
        cfg = copy.deepcopy(detector)
        cfg.model = thin(student, NUM_CLASSES).model
        path = tmp_path / 'teacher.pth'
        classes = cfg.train_dataloader.dataset.metainfo.classes
        weights = build(teacher, 1, NUM_CLASSES).state_dict()
        torch.save({'state_dict': weights, 'meta': {'dataset_meta': {'classes': classes}}}, path)
        cfg.custom_hooks[0].update(
            teacher=dict(config=dict(model=thin(teacher, NUM_CLASSES).model), checkpoint=str(path)),
            method=method,
            **hook,
        )
        cfg.custom_hooks[1].update(interval=1, grad_interval=1)
        cfg.train_cfg.update(max_iters=4, val_begin=9)
        cfg.default_hooks.checkpoint.pop('save_best')
        return cfg

    return make


def hook_of(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, DistillHook))


def test_sort_ld_and_pkd_teach_together_and_a_resumed_run_ends_as_the_other(
    run_of, start, tmp_path
):
    cfg = run_of(DENSE['GFL'], WIDE, [SORT, LD, PKD])
    whole = start(cfg, work_dir=str(tmp_path / 'whole'))
    batches, gradients = [], []

    def watch(batch):
        batches.append({name: loss.item() for name, loss in batch.distill_losses.items()})
        neck = next(whole.model.neck.parameters())
        found = [
            torch.autograd.grad(loss, neck, retain_graph=True)[0].norm()
            for loss in batch.distill_losses.values()
        ]
        gradients.append(torch.stack(found))

    hook_of(whole).watchers.append(watch)
    parameters = sum(1 for _ in whole.model.parameters())
    whole.train()
    hook = hook_of(whole)
    assert type(hook.adapter) is DenseHeadAdapter
    assert len(batches) == 4
    assert all(value > 0 for batch in batches for value in batch.values())
    assert (torch.stack(gradients) > 0).all()  # each term's reaches the neck

    # The convolutions are the term's: they learn, and the student has none of them.
    adaptation = hook.method.terms[2].adaptation
    assert [(each.in_channels, each.out_channels) for each in adaptation] == [(16, 32)] * 4
    assert sum(1 for _ in whole.model.parameters()) == parameters
    early, checkpoint = (
        torch.load(f'{whole.work_dir}/iter_{number}.pth', weights_only=True) for number in (2, 4)
    )
    learned = checkpoint['sortkd_det']['method']
    assert set(learned) == {
        f'terms.2.adaptation.{level}.{name}' for level in range(4) for name in ('weight', 'bias')
    }
    for name, value in learned.items():
        assert name.endswith('bias') or not torch.equal(value, early['sortkd_det']['method'][name])
    build(DENSE['GFL'], 2, NUM_CLASSES).load_state_dict(checkpoint['state_dict'], strict=True)

    # The audit counts classes, and shows the share of every term.
    scalars = whole.message_hub.log_scalars
    for name in hook.method.loss_names:
        assert scalars[f'train/share/{name}'].data[0][-1] > 0
    assert scalars['train/grad_norm/loss_distill_0'].data[0][-1] > 0

    short = copy.deepcopy(cfg)
    short.train_cfg.update(max_iters=2)
    start(short, work_dir=str(tmp_path / 'parts')).train()
    resumed = start(cfg, work_dir=str(tmp_path / 'parts'), resume=True)
    resumed.train()
    assert_same(ending(whole), ending(resumed))


def test_features_alone_teach_a_detector_whose_head_nobody_reads(run_of, start):
    """The teacher's head does not run, and its classes are of no matter but to a test of it."""
    cfg = run_of(CENTERNET, CENTERNET, [dict(loss='FitNetLoss')], check_teacher=2)
    teacher = torch.load(cfg.custom_hooks[0].teacher.checkpoint, weights_only=True)
    teacher['meta']['dataset_meta']['classes'] = ['another']
    torch.save(teacher, cfg.custom_hooks[0].teacher.checkpoint)
    runner = start(cfg)
    batches, calls = [], []

    class Spy(DistillHook):
        def before_train(self, runner):
            super().before_train(runner)
            head = self.adapter.teacher.model.bbox_head
            head.register_forward_hook(lambda *_: calls.append(1))

    hook = hook_of(runner)
    hook.__class__ = Spy
    hook.watchers.append(batches.append)
    runner.train()
    assert type(hook.adapter) is FeatureAdapter
    assert calls == []
    assert len(batches) == 4
    assert all(batch.logits is None for batch in batches)
    assert all(float(batch.distill_losses['loss_distill'].detach()) > 0 for batch in batches)
    scalars = runner.message_hub.log_scalars
    assert scalars['train/share/loss_distill'].data[0][-1] > 0
    assert not any(name.startswith('train/teacher/') for name in scalars)


@pytest.mark.parametrize(
    ('student', 'method', 'adapter', 'message'),
    [
        pytest.param('FCOS', [LD], None, r"of='boxes', and DenseHeadAdapter reads no .*FCOSHead",
                     id='boxes of a head that says them otherwise'),
        pytest.param('GFL', [SORT, PKD], 'FeatureAdapter', r'FeatureAdapter reads features alone',
                     id='logits of an adapter of features'),
        pytest.param('GFL', [dict(loss='PKDLoss', student_channels=24)], None,
                     r'level 0 of the student has 16 channels and the term PKDLoss expected 24',
                     id='channels that are not those of the neck'),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said_before_the_first_step(
    student, method, adapter, message, run_of, start
):
    family = DENSE[student]
    runner = start(run_of(family, family, method, adapter=adapter))
    with pytest.raises(ValueError, match=message):
        runner.train()
    assert runner.iter == 0


def test_a_frozen_neck_cannot_be_taught(run_of, start):
    runner = start(run_of(DENSE['GFL'], DENSE['GFL'], [PKD]))
    runner.model.neck.requires_grad_(False)
    runner.model.backbone.requires_grad_(False)
    with pytest.raises(RuntimeError, match='loss_distill of the term PKDLoss needs no gradient'):
        runner.train()
