"""What every family of detectors must show: thin networks of MMDetection's own configs."""

import copy
import io
import json

import pytest
import torch
import two_processes
from thin_detectors import (
    EXEMPLARS,
    FAMILIES,
    MASK_QUERY,
    ROI,
    forward,
    prepared,
    rows_of,
    student_of,
    teacher_of,
    total,
)

from sortkd_det.adapters import build_adapter, count_classes
from sortkd_det.distill import Method

METHOD = [{'loss': 'KDLoss', 'processors': ['SortLogits']}]
# mmcv's deformable convolution has no bfloat16 on the CPU, and AutoAssign and DDQ mix dtypes.
NO_BFLOAT16 = {
    *('NAS-FCOS', 'VFNet', 'TOOD', 'TOOD, later', 'RepPoints', 'AutoAssign', 'DDQ', 'GA-RetinaNet'),
    *ROI,
}

each_family = pytest.mark.parametrize('name', rows_of(FAMILIES))


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


@each_family
def test_a_step_changes_the_student_alone(name):
    """Images of other sizes, one without objects; the checkpoint stays MMDetection's."""
    student, teacher = student_of(name), teacher_of(name)
    adapter = build_adapter(None, student, teacher)
    assert set(count_classes(student).values()) == {3}
    method = Method(METHOD)
    method.check(adapter.activation)
    before, checksum = state_of(student), teacher.checksum()
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-3)
    other = (64, 64) if FAMILIES[name].one_size else (48, 64)
    data = prepared(student, name, sizes=((64, 64), other), objects=(2, 0))
    batch, losses = forward(adapter, *data)
    (distil,) = method(batch, 1).values()
    assert len(batch.labels) > 0
    assert (batch.find_places is None) == ('SOLO' in name or name in MASK_QUERY)
    if batch.find_places is not None:
        places = batch.find_places()
        assert places.shape == (len(batch.labels), 5)
        assert set(places[batch.is_positive, 0].tolist()) == {0}  # the other has no object
    assert distil.isfinite()
    assert distil > 0
    parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(distil, parameters, retain_graph=True, allow_unused=True)
    assert any(gradient is not None and gradient.any() for gradient in gradients)
    (total(losses) + distil).backward()
    optimizer.step()
    assert all(value.isfinite().all() for value in student.state_dict().values())
    assert any(not torch.equal(value, before[key]) for key, value in student.state_dict().items())
    assert teacher.checksum() == checksum
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())

    file = io.BytesIO()
    torch.save(student.state_dict(), file)
    file.seek(0)
    stock = copy.deepcopy(teacher.model)
    if name == 'DDQ':  # in training MMDetection gives weights of its head a second name
        stock.decoder.aux_reg_branches = stock.bbox_head.aux_reg_branches
    stock.load_state_dict(torch.load(file, weights_only=True), strict=True)


@each_family
def test_images_without_objects_teach_no_object(name):
    student = student_of(name)
    adapter = build_adapter(None, student, teacher_of(name))
    batch, losses = forward(adapter, *prepared(student, name, objects=(0, 0)))
    (distil,) = Method(METHOD)(batch, 1).values()
    assert not batch.is_positive.any()
    assert distil.isfinite()
    (total(losses) + distil).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


@each_family
def test_deep_copies_report_nothing(name):
    """An average of weights is a copy, made while the hooks are on, and runs on other images."""
    student = student_of(name)
    adapter = build_adapter(None, student, teacher_of(name))
    torch.manual_seed(0)  # samplers draw
    expected, _ = forward(adapter, *prepared(student, name))
    student = student_of(name)
    adapter = build_adapter(None, student, teacher_of(name))
    handles = adapter.attach()
    copied = copy.deepcopy(student)
    data = prepared(student, name)
    adapter.reset()
    adapter.prepare(*data)
    torch.manual_seed(0)
    student(*data, mode='loss')
    copied(*prepared(student, name, seed=1), mode='loss')
    batch = adapter.batch(*data)
    for handle in handles:
        handle.remove()
    assert torch.equal(batch.labels, expected.labels)
    torch.testing.assert_close(batch.student, expected.student)


# Logits of RetinaNet-SepBN's new head are all alike in bfloat16.
@pytest.mark.parametrize('name', rows_of(FAMILIES, EXEMPLARS | {'RetinaNet-SepBN'}))
def test_under_bfloat16_autocast(name):
    student = student_of(name)
    adapter = build_adapter(None, student, teacher_of(name))
    with torch.autocast('cpu', torch.bfloat16):
        if name in NO_BFLOAT16:
            with pytest.raises(RuntimeError, match=r'not implemented for|BFloat16'):
                student(*prepared(student, name), mode='loss')
            return
        batch, losses = forward(adapter, *prepared(student, name))
        (distil,) = Method(METHOD)(batch, 1).values()
    assert distil.isfinite()
    assert distil.dtype == torch.float32
    (total(losses) + distil).backward()


@pytest.mark.parametrize('names', [EXEMPLARS, pytest.param(FAMILIES, marks=pytest.mark.slow)])
def test_two_processes_of_which_one_has_no_objects_end_with_equal_gradients(names, run_python):
    """In one launch."""
    names = set(names) - two_processes.LEFT_OUT
    done = run_python(two_processes.__file__, *sorted(names))
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() == names
    for name, result in found.items():
        assert result == {'equal': True, 'finite': True, 'any': True}, name
