"""Where boxes end: GFL's distributions, and LD as a term about them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import LDHead
from mmdet.models.losses import KnowledgeDistillationKLDivLoss
from thin_detectors import forward, prepared, student_of, teacher_of, total

from sortkd_det.adapters import build_adapter
from sortkd_det.adapters.box_reader import BoxReader
from sortkd_det.adapters.loss_calls import LossCall
from sortkd_det.distill import Method, Term

LD = dict(of='boxes', loss=dict(type='KDLoss', temperature=10.0, loss_weight=0.25))
IMAGES = dict(sizes=((64, 96), (80, 64), (64, 64)), objects=(2, 3, 0))
NUM_BINS = 17


def decided(model):
    """The model, whose distributions of boxes are far from the even ones of a new head."""
    model.bbox_head.gfl_reg.weight.data *= 50
    return model


def pair_of_gfl(change=lambda model: None):
    student, teacher = decided(student_of('GFL')), copy.copy(teacher_of('GFL'))
    teacher.model = decided(copy.deepcopy(teacher.model))
    teacher._compared = None
    change(teacher.model)
    return student, teacher


def test_ld_is_mmdetections_own():
    student, teacher = pair_of_gfl()
    data = prepared(student, 'GFL', **IMAGES)
    adapter = build_adapter(None, student, teacher, frozenset({'boxes'}))
    batch, _ = forward(adapter, *data)
    (ours,) = Method(LD)(batch, 1).values()

    head = copy.deepcopy(student.bbox_head)
    head.__class__ = LDHead  # it has no parameters but GFL's
    head.loss_ld = KnowledgeDistillationKLDivLoss(loss_weight=0.25, T=10)
    features = student.extract_feat(data[0])
    with torch.no_grad():
        taught = teacher.model.bbox_head(teacher.model.extract_feat(data[0]))
    theirs = sum(head.loss(features, taught, data[1])['loss_ld'])
    assert float(theirs.detach()) > 0.01
    assert f'{ours.item():.4f}' == f'{theirs.item():.4f}'  # as logs print it
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    gradients = [
        torch.autograd.grad(loss, student.neck.parameters(), allow_unused=True)
        for loss in (ours, theirs)
    ]
    found = [pair for pair in zip(*gradients, strict=True) if pair[0] is not None]
    assert len(found) > 4
    for mine, other in found:
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-7)


def test_rows_are_those_of_the_heads_own_loss_to_the_bit():
    student, teacher = pair_of_gfl()
    calls = []
    handle = student.bbox_head.loss_dfl.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append((*args, kwargs['weight'])), with_kwargs=True
    )
    batch, _ = forward(build_adapter(None, student, teacher), *prepared(student, 'GFL', **IMAGES))
    handle.remove()
    boxes = batch.find_boxes()
    assert batch.find_boxes() is boxes
    logits, targets, weights = map(torch.cat, zip(*calls, strict=True))
    assert len(logits) == 4 * int(batch.is_positive.sum()) > 40
    assert torch.equal(boxes.student, logits)
    assert torch.equal(boxes.weight, weights)
    assert not boxes.weight.requires_grad
    assert (boxes.labels - targets).abs().max() <= 0.5
    assert boxes.student.shape == boxes.teacher.shape == (len(logits), NUM_BINS)
    # A student that is its own teacher sees itself: rows of both are of the same places.
    twin = copy.copy(teacher)
    twin.model, twin._compared = copy.deepcopy(student).eval().requires_grad_(False), None
    student.eval()  # the same statistics of its normalisation
    batch, _ = forward(build_adapter(None, student, twin), *prepared(student, 'GFL', **IMAGES))
    boxes = batch.find_boxes()
    torch.testing.assert_close(boxes.student.detach(), boxes.teacher)


def test_a_teacher_that_pads_more_is_read_at_the_same_places():
    generator = torch.Generator().manual_seed(0)
    reader = BoxReader(student_of('GFL').bbox_head)
    maps = [torch.randn(2, 4 * NUM_BINS, *size, generator=generator) for size in [(5, 7), (3, 4)]]
    larger = [F.pad(level, (0, 3, 0, 2), value=torch.nan) for level in maps]
    chosen = [torch.rand(2, *level.shape[2:], generator=generator) < 0.3 for level in maps]
    rows = torch.cat(
        [
            level[image, :, y, x].view(4, NUM_BINS)
            for level, here in zip(maps, chosen, strict=True)
            for image, y, x in here.nonzero()
        ]
    )
    positive = torch.cat([here.flatten(1) for here in chosen], 1)
    reader.outputs.append((None, maps))
    with pytest.raises(ValueError, match=f'its loss_dfl on 0 rows that are not the {len(rows)}'):
        reader.finder(positive, larger)()
    reader.losses.append(LossCall(rows, torch.zeros(len(rows)), torch.ones(len(rows))))
    boxes = reader.finder(positive, larger)()
    assert torch.equal(boxes.student, rows)
    assert torch.equal(boxes.teacher, rows)


def test_a_sort_puts_the_nearest_distance_on_top():
    student, teacher = pair_of_gfl()
    batch, _ = forward(build_adapter(None, student, teacher), *prepared(student, 'GFL', **IMAGES))
    boxes = batch.find_boxes()
    term = Term(loss='KDLoss', of='boxes', processors=['SortLogits'])
    term.check('sigmoid')  # a distribution is a softmax, whatever the classes are
    ordered = term.process(term.processors, boxes.teacher, boxes)
    assert torch.equal(ordered.argmax(1), boxes.labels)
    assert not torch.equal(boxes.teacher.argmax(1), boxes.labels)


def test_images_without_objects_have_no_boxes():
    student, teacher = pair_of_gfl()
    adapter = build_adapter(None, student, teacher)
    batch, losses = forward(adapter, *prepared(student, 'GFL', objects=(0, 0)))
    assert batch.find_boxes().student.shape == (0, NUM_BINS)
    (ld,) = Method(LD)(batch, 1).values()
    assert ld.item() == 0
    (total(losses) + ld).backward()
    assert student.bbox_head.gfl_reg.weight.grad.isfinite().all()


@pytest.mark.parametrize('reg_max', [16, 8])
def test_heads_without_equal_distances_give_no_boxes(reg_max):
    def shorten(model):
        model.bbox_head.reg_max = reg_max

    student, teacher = pair_of_gfl(shorten)
    assert ('boxes' in build_adapter(None, student, teacher).gives) == (reg_max == 16)
    if reg_max == 8:
        with pytest.raises(ValueError, match=r'DenseHeadAdapter reads no distributions of boxes'):
            build_adapter(None, student, teacher, frozenset({'boxes'}))


def test_a_head_that_loses_other_rows_is_refused():
    student, teacher = pair_of_gfl()
    flip = lambda module, args: (args[0].flip(0), *args[1:])  # noqa: E731
    student.bbox_head.loss_dfl.register_forward_pre_hook(flip, prepend=True)
    batch, _ = forward(build_adapter(None, student, teacher), *prepared(student, 'GFL', **IMAGES))
    with pytest.raises(ValueError, match=r'GFLHead called its loss_dfl on \d+ rows that are not'):
        batch.find_boxes()


def test_a_batch_of_another_head_has_no_boxes():
    student = student_of('FCOS')
    batch, _ = forward(build_adapter(None, student, teacher_of('FCOS')), *prepared(student, 'FCOS'))
    with pytest.raises(ValueError, match="term KDLoss has of='boxes', and the batch has no"):
        Term('KDLoss', of='boxes')(batch, 1)
