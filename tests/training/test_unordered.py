"""What keeps a run on a GPU from being repeatable to the bit is said before it begins."""

import logging

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope

from sortkd_det.training.unordered import unordered_operators, warn_if_not_repeatable


def build(config):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(config)


@pytest.fixture
def faster_rcnn(detector):
    return build(detector.model)


def test_the_operators_of_mmcv_that_add_in_no_fixed_order_are_named(faster_rcnn):
    assert unordered_operators(faster_rcnn) == ['RoIAlign']
    deformable = dict(
        type='ResNet', depth=50, dcn=dict(type='DCNv2', deform_groups=1), base_channels=8,
        stage_with_dcn=(False, True, True, True), init_cfg=None,
    )  # fmt: skip
    assert unordered_operators(build(deformable)) == ['ModulatedDeformConv2d']
    assert unordered_operators(torch.nn.Conv2d(3, 3, 3)) == []


@pytest.mark.parametrize(('device', 'says'), [('cuda', True), ('cpu', False)])
def test_it_is_said_once_where_there_is_a_gpu(faster_rcnn, caplog, device, says):
    logger = logging.getLogger('unordered')
    warn_if_not_repeatable(faster_rcnn, torch.device(device), logger)
    warn_if_not_repeatable(torch.nn.Linear(2, 2), torch.device(device), logger)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == says
    if says:
        assert 'mmcv adds the gradients of RoIAlign on a GPU up in no fixed order' in messages[0]
        assert 'two of ten iterations did by 2.4e-6 on an H200' in messages[0]


def test_only_a_run_that_was_asked_to_be_deterministic_looks(detector, start, monkeypatch):
    looked = []
    monkeypatch.setattr(
        'sortkd_det.training.runner.warn_if_not_repeatable',
        lambda model, device, logger: looked.append((model, device.type)),
    )
    detector.train_cfg.max_iters = 1
    start(detector).train()
    assert looked == []
    detector.randomness = dict(seed=0, deterministic=True)
    runner = start(detector)
    try:
        runner.train()
    finally:
        torch.use_deterministic_algorithms(False)
    assert looked == [(runner.model, 'cpu')]
