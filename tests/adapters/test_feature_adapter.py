"""Features of two necks, with and without a head that is read."""

import copy

import pytest
import torch
from thin_detectors import prepared, student_of, teacher_of
from torch import nn

import sortkd_det.classification  # noqa: F401
from sortkd_det.adapters import DenseHeadAdapter, FeatureAdapter, build_adapter, find_adapter
from sortkd_det.distill import Method
from sortkd_det.registry import MODELS

FEATURES = frozenset({'features'})


def features_of(adapter, inputs, data_samples):
    """One forward as a run has it: the features, and the student's own losses."""
    handles = [*adapter.attach(), *adapter.attach_features()]
    try:
        adapter.reset()
        adapter.prepare(inputs, data_samples)
        losses = adapter.student(inputs, data_samples, mode='loss')
        return adapter.features(inputs), losses
    finally:
        for handle in handles:
            handle.remove()


def guest_of(name, model, divisor=32):
    """A teacher of this model, which pads images to a multiple of ``divisor``."""
    guest = copy.copy(teacher_of(name))
    guest.model, guest._compared = copy.deepcopy(model).eval().requires_grad_(False), None
    guest.model.data_preprocessor.pad_size_divisor = divisor
    return guest


def test_features_alone_take_the_adapter_that_reads_no_head():
    student, teacher = student_of('GFL'), teacher_of('GFL')
    assert find_adapter(student, teacher.model, FEATURES) is FeatureAdapter
    for needs in (FEATURES | {'classes'}, FEATURES | {'boxes'}, frozenset({'classes'})):
        assert find_adapter(student, teacher.model, needs) is DenseHeadAdapter
    assert type(build_adapter(None, student, teacher, FEATURES)) is FeatureAdapter


def test_between_heads_of_any_kind():
    student, teacher = student_of('FCOS'), teacher_of('RetinaNet')
    adapter = build_adapter(None, student, teacher, FEATURES)
    data = prepared(student, 'FCOS')
    batch, _ = features_of(adapter, *data)
    assert [level.shape for level in batch.student] == [level.shape for level in batch.teacher]
    with torch.no_grad():
        images = teacher.convert_inputs(data[0], student, data[1])
        expected = teacher.model.extract_feat(images)
    assert all(map(torch.equal, batch.teacher, expected))
    (loss,) = Method(dict(loss='PKDLoss', num_levels=4))(None, 1, batch).values()
    loss.backward()
    assert student.neck.lateral_convs[0].conv.weight.grad.any()
    assert all(p.grad is None for p in student.bbox_head.parameters())


@pytest.mark.parametrize('size', [(64, 64), (72, 104), (96, 160)])
def test_a_teacher_that_pads_more_is_cut_and_not_resized(size):
    student = student_of('GFL').eval()
    student.data_preprocessor.pad_size_divisor = 8
    adapter = build_adapter(None, student, guest_of('GFL', student, divisor=128), FEATURES)
    data = prepared(student, 'GFL', sizes=[size, size])
    batch, _ = features_of(adapter, *data)
    whole = adapter.teacher.model.extract_feat(
        adapter.teacher.convert_inputs(data[0], student, data[1])
    )
    for own, cut, other in zip(batch.student, batch.teacher, whole, strict=True):
        height, width = own.shape[-2:]
        assert torch.equal(cut, other[..., :height, :width])
        # Where the padding is far away both see the same.
        torch.testing.assert_close(own[..., :1, :1], cut[..., :1, :1], rtol=1, atol=0.5)


def test_without_a_neck_the_backbones_maps_are_the_features():
    student = student_of('GFL')
    teacher = guest_of('GFL', student)
    adapter = build_adapter(None, student, teacher, FEATURES)
    for model in (student, teacher.model):
        model.neck = None
    adapter.attach_features()
    data = prepared(student, 'GFL')
    adapter.prepare(*data)
    expected = student.extract_feat(data[0])
    batch = adapter.features(data[0])
    assert len(batch.student) == 4
    assert all(map(torch.equal, batch.student, expected))


def test_a_deep_copy_reports_nothing():
    student = student_of('GFL')
    adapter = build_adapter(None, student, teacher_of('GFL'), FEATURES)
    adapter.attach_features()
    data = prepared(student, 'GFL')
    adapter.reset()
    adapter.prepare(*data)
    copy.deepcopy(student).extract_feat(data[0])
    with pytest.raises(ValueError, match='neck of the student, GFL, ran 0 times in one forward'):
        adapter.features(data[0])


def test_a_neck_that_runs_twice_is_refused():
    student = student_of('GFL')
    adapter = build_adapter(None, student, teacher_of('GFL'), FEATURES)
    adapter.attach_features()
    data = prepared(student, 'GFL')
    adapter.prepare(*data)
    for _ in range(2):
        student.extract_feat(data[0])
    with pytest.raises(ValueError, match='ran 2 times in one forward; FeatureAdapter expects once'):
        adapter.features(data[0])


def test_models_without_a_neck_are_refused_by_name():
    student = MODELS.get('cifar/resnet8')(3)
    with pytest.raises(ValueError, match=r'read the features of both the teacher, Identity'):
        find_adapter(student, nn.Identity(), FEATURES)


def test_logits_are_refused_by_an_adapter_of_features():
    student, teacher = student_of('GFL'), teacher_of('GFL')
    adapter = build_adapter({'type': 'FeatureAdapter'}, student, teacher, FEATURES)
    with pytest.raises(ValueError, match='reads features alone, and was asked for logits'):
        adapter.batch(None, [])
