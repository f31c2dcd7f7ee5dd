"""What may begin a run; what may not is in tests/cli/test_bad_checkpoints.py."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel, BaseTTAModel
from torch import nn

from sortkd_det.hooks import FitCheckHook


class Model(BaseModel):
    def __init__(self, num_classes=2):
        super().__init__()
        self.backbone = nn.Linear(3, 4)
        self.head = nn.Linear(4, num_classes)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.head(self.backbone(inputs))


class Flips(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        return data_samples_list


def load(model, weights, strict=False, **settings):
    runner = SimpleNamespace(model=model, cfg=Config(dict(load_from='some.pth', **settings)))
    FitCheckHook(strict).after_load_checkpoint(runner, {'state_dict': weights})


def test_weights_that_fit_in_part_may_begin_a_run_but_not_be_tested():
    load(Model(), Model(7).state_dict())
    with pytest.raises(ValueError, match=r'2 of another shape: head\.weight'):
        load(Model(), Model(7).state_dict(), strict=True)


def test_a_model_behind_flips_is_tested():
    weights = Model().state_dict()
    model = Flips(module=Model())
    load(model, weights, strict=True)
    assert torch.equal(model.module.head.weight, weights['head.weight'])


def test_mean_and_deviation_that_older_versions_saved_are_left_aside():
    load(Model(), {**Model().state_dict(), 'data_preprocessor.mean': torch.zeros(3)}, strict=True)
