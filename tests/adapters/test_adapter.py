"""How an adapter is found."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sortkd_det.adapters import Adapter, build_adapter, count_classes, find_adapter
from sortkd_det.registry import ADAPTERS


class Head(nn.Module):
    num_classes = 7


class Detector(nn.Module):
    def __init__(self, head):
        super().__init__()
        self.bbox_head = head


class Own(Adapter):
    """What a user might write, with an option."""

    activation = 'sigmoid'

    def __init__(self, student, teacher, level=0):
        super().__init__(student, teacher)
        self.level = level

    @classmethod
    def accepts(cls, student, teacher):
        return isinstance(student, Detector)

    @classmethod
    def count_classes(cls, model):
        return {'bbox_head.num_classes': 7} if isinstance(model, Detector) else {}

    def attach(self):
        return []

    def reset(self):
        pass

    def prepare(self, inputs, data_samples):
        pass

    def batch(self, inputs, data_samples):
        raise NotImplementedError


@pytest.fixture
def register():
    """Register adapters for one test."""
    before = dict(ADAPTERS.module_dict)

    def add(*adapters):
        for adapter in adapters:
            ADAPTERS.register_module(module=adapter)

    yield add
    ADAPTERS.module_dict.clear()
    ADAPTERS.module_dict.update(before)


def test_adapters_of_the_user_are_asked_before_ours_in_their_order(register):
    ours = type('Ours', (Own,), {'__module__': 'sortkd_det.adapters.ours'})
    deaf = type('Deaf', (Own,), {'accepts': classmethod(lambda cls, student, teacher: False)})
    second = type('Second', (Own,), {})
    register(ours, deaf, Own, second)
    assert find_adapter(Detector(Head()), nn.Identity()) is Own


def test_where_none_accepts_the_error_says_what_was_asked_for_and_what_to_do():
    student, teacher = Detector(Head()), nn.Identity()
    with pytest.raises(
        ValueError,
        match=r'the teacher, Identity \(no head\), and the student, Detector \(bbox_head=Head\); '
        r'registered adapters, in the order they were asked: ClassifierAdapter, DenseHeadAdapter, '
        r'.*RoIHeadAdapter.*\. .*write an adapter for these \(docs/extending\.md\)',
    ):
        find_adapter(student, teacher)


def test_options_reach_the_adapter_that_is_named(register):
    register(Own)
    student, teacher = Detector(Head()), SimpleNamespace(model=nn.Identity())
    assert build_adapter(None, student, teacher).level == 0
    adapter = build_adapter({'type': 'Own', 'level': 3}, student, teacher)
    assert (adapter.level, adapter.student, adapter.teacher) == (3, student, teacher)


def test_classes_are_counted_by_the_first_adapter_that_knows_the_model(register):
    assert count_classes(Detector(Head())) == {}
    register(Own)
    assert count_classes(Detector(Head())) == {'bbox_head.num_classes': 7}
    assert count_classes(nn.Identity()) == {}


def test_a_watched_module_reports_and_its_copies_do_not():
    seen = []
    module = nn.Identity()
    handle = Own.watch(module, lambda x, scale=1: seen.append((x, scale)))
    copy.deepcopy(module)(torch.ones(()))
    assert seen == []
    module(torch.ones(()))
    assert seen == [(torch.ones(()), 1)]
    handle.remove()
    module(torch.ones(()))
    assert len(seen) == 1
