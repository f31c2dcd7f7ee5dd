"""What the losses of MMDetection's heads were given, with its own losses."""

import copy

import pytest
import torch
from mmdet.models import losses
from torch import nn

from sortkd_det.adapters.loss_calls import LossCalls, activation_of, as_logits, hard_labels


def test_only_calls_that_train_are_kept_in_order():
    loss = losses.CrossEntropyLoss(use_sigmoid=False)
    calls = LossCalls(loss, None)
    handles = calls.attach()
    logits, labels = torch.randn(3, 4, requires_grad=True), torch.tensor([0, 3, 1])
    loss(logits, labels, reduction_override='none')  # PAA and PISA choose by it
    with torch.no_grad():
        loss(logits, labels)  # OHEM does
    copy.deepcopy(loss)(logits, labels)  # an average of weights
    weight = torch.ones(3)
    loss(logits, labels)
    loss(logits[:2], labels[:2], weight=weight[:2], avg_factor=1.0)
    assert [len(call.scores) for call in calls] == [3, 2]
    assert calls[0].scores is logits
    assert calls[0].weight is None
    assert calls[1].weight.tolist() == [1.0, 1.0]
    with torch.no_grad():
        calls.reset()
        loss(logits, labels)
    assert len(calls) == 1
    for handle in handles:
        handle.remove()
    loss(logits, labels)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ('target', 'labels'),
    [
        pytest.param(torch.tensor([0, 3, -1]), [0, 3, 3], id='labels, of which one is ignored'),
        pytest.param((torch.tensor([2, 3]), torch.rand(2)), [2, 3], id='labels and quality'),
        pytest.param(
            torch.tensor([[0.0, 0.0, 0.1], [0.0, 0.0, 0.0]]), [2, 3], id='one-hot times quality'
        ),
        pytest.param(
            torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]]), [[0], [3]], id='a row an image'
        ),
    ],
)
def test_labels_are_read_in_every_form(target, labels):
    assert hard_labels(target, 3).tolist() == labels


def test_a_target_of_another_kind_is_refused():
    with pytest.raises(TypeError, match='the target of a classification loss is dict'):
        hard_labels({}, 3)


@pytest.mark.parametrize(
    ('loss', 'activation'),
    [
        (losses.CrossEntropyLoss(use_sigmoid=False), 'softmax'),
        (losses.CrossEntropyLoss(use_sigmoid=True), 'sigmoid'),
        (losses.FocalLoss(), 'sigmoid'),
        (losses.QualityFocalLoss(), 'sigmoid'),
        (losses.VarifocalLoss(), 'sigmoid'),
        (losses.GHMC(), 'sigmoid'),
    ],
)
def test_a_loss_tells_its_activation(loss, activation):
    assert activation_of(loss) == activation


@pytest.mark.parametrize('loss', [None, nn.Identity(), losses.SeesawLoss(num_classes=3)])
def test_a_loss_that_does_not_tell_is_refused(loss):
    with pytest.raises(ValueError, match=f'{type(loss).__name__} does not tell whether'):
        activation_of(loss)


def test_probabilities_become_logits():
    logits = torch.tensor([[-20.0, 0.0, 3.0, 20.0]])
    activated = losses.QualityFocalLoss(activated=True)
    assert as_logits(logits, losses.FocalLoss()) is logits
    expected = torch.tensor([[-13.8155, 0.0, 3.0, 13.8155]])
    torch.testing.assert_close(as_logits(logits.sigmoid(), activated), expected, atol=0.1, rtol=0)
    back = as_logits(logits.sigmoid().bfloat16(), activated)
    assert back.dtype == torch.float32
    assert back.isfinite().all()


@pytest.mark.parametrize(
    ('loss', 'names'),
    [
        (losses.FocalLoss(), ('pred', 'target')),
        (losses.CrossEntropyLoss(use_sigmoid=True), ('cls_score', 'label')),
    ],
)
def test_a_head_may_call_its_loss_by_keywords_in_any_order(loss, names):
    calls = LossCalls(loss)
    calls.attach()
    logits, labels = torch.randn(3, 4, requires_grad=True), torch.tensor([0, 3, 1])
    given = dict(zip(names, (logits, labels), strict=True))
    loss(avg_factor=3.0, weight=torch.ones(3), **dict(reversed(given.items())))
    loss(logits, weight=torch.ones(3), reduction_override='none', **{names[1]: labels})
    (call,) = calls
    assert call.scores is logits
    assert call.target is labels
    assert call.weight.tolist() == [1.0, 1.0, 1.0]
