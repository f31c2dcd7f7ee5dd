"""Heads with queries: which of their rows are read, and how a teacher sees objects."""

import copy

import pytest
import torch
from thin_detectors import QUERY, forward, images, prepared, rows_of, student_of, teacher_of

from sortkd_det.adapters import ObjectAdapter
from sortkd_det.adapters.loss_calls import LossCalls, hard_labels
from sortkd_det.adapters.objects import Objects
from sortkd_det.adapters.query_head import best_queries, see_by_queries

# Calls of loss_cls for two layers of the decoder, two of denoising, and for the encoder.
CALLS = {'DINO': 5, 'DDQ': 5, 'Deformable DETR, two stages': 3}
each_head = pytest.mark.parametrize('name', rows_of(QUERY, quick={'DETR', 'DINO', 'DDQ'}))


@each_head
@pytest.mark.parametrize('layers', ['last', 'all'])
def test_matched_queries_of_the_decoder_are_read_and_no_others(name, layers):
    student = student_of(name)
    adapter = ObjectAdapter(student, teacher_of(name), layers=layers)
    own = LossCalls(student.bbox_head.loss_cls)
    handles = own.attach()
    batch, _ = forward(adapter, *prepared(student, name, objects=(3, 2)))
    for handle in handles:
        handle.remove()
    assert len(own) == CALLS.get(name, 2)
    calls = own[:2] if layers == 'all' else own[1:2]
    labels = [hard_labels(call.target, 3) for call in calls]
    expected = [call.scores[each != 3] for call, each in zip(calls, labels, strict=True)]
    assert torch.equal(batch.student, torch.cat(expected))
    assert len(batch.labels) == 5 * len(calls)  # each object has one query in each layer
    assert all(source.requires_grad for source in batch.sources)
    assert batch.weight.max() == len(calls)


@pytest.mark.parametrize('name', ['DETR', 'DDQ'])
def test_each_object_has_its_own_row_also_where_images_are_alike(name):
    """Two images with the same boxes and labels, whose pixels differ."""
    student = student_of(name)
    inputs, samples = prepared(student, name, objects=(2, 2))
    samples[1].gt_instances = copy.deepcopy(samples[0].gt_instances)
    adapter = ObjectAdapter(student, teacher_of(name), layers='all')
    handles = adapter.attach()
    adapter.reset()
    student(inputs, samples, mode='loss')
    for part in adapter.reader.rows(Objects.of(samples), samples):
        assert sorted(part.objects.tolist()) == [0, 1, 2, 3]
    for handle in handles:
        handle.remove()


def test_the_teachers_layers_teach_the_students_where_both_have_as_many():
    student, teacher = student_of('DETR'), copy.copy(teacher_of('DETR'))
    data = prepared(student, 'DETR')
    objects = Objects.of(data[1])

    def taught():
        adapter = ObjectAdapter(student, teacher, layers='all')
        batch, _ = forward(adapter, *data)
        adapter.prepare(*data)
        with torch.no_grad():
            samples = adapter.teacher_samples(data[1])
            scores, boxes = see_by_queries(teacher.model, adapter.teacher_features(), samples)
        layers = zip(scores, boxes, strict=True)
        seen = [best_queries(*each, 'softmax', objects)[0] for each in layers]
        rows = [set(map(tuple, layer.tolist())) for layer in batch.teacher.chunk(2)]
        return rows, [set(map(tuple, layer.tolist())) for layer in seen]

    rows, seen = taught()
    assert rows == seen
    assert seen[0] != seen[1]
    teacher.model = copy.deepcopy(teacher.model)
    teacher.model.decoder.layers.append(copy.deepcopy(teacher.model.decoder.layers[0]))
    teacher.model.decoder.num_layers = 3
    rows, seen = taught()
    assert len(seen) == 3
    assert rows == [seen[-1], seen[-1]]


@each_head
def test_a_teacher_pads_in_its_own_way(name):
    """It pads to 128 pixels where the student does to 80, and masks what it padded."""
    student, teacher = student_of(name), copy.copy(teacher_of(name))
    teacher.model = copy.deepcopy(teacher.model)
    teacher.model.data_preprocessor.pad_size_divisor = 64
    sizes = {'sizes': ((64, 80), (48, 64))}
    inputs, samples = prepared(student, name, **sizes)
    adapter = ObjectAdapter(student, teacher)
    adapter.prepare(inputs, samples)
    own = teacher.model.data_preprocessor(images(**sizes), training=False)
    assert own['inputs'].shape[-1] == 128
    assert inputs.shape[-1] == 80
    with torch.no_grad():
        features = adapter.teacher_features()
        own_features = teacher.model.extract_feat(own['inputs'])
        expected, _ = see_by_queries(teacher.model, own_features, own['data_samples'])
        found, _ = see_by_queries(teacher.model, features, adapter.teacher_samples(samples))
        wrong, _ = see_by_queries(teacher.model, features, samples)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert (wrong - expected).abs().max() > 1e-4
    assert all('gt_instances' not in each for each in adapter.teacher_samples(samples))


def test_the_best_query_overlaps_and_knows_the_class():
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 5], [40, 40, 50, 50]]])
    scores = torch.tensor([[[-2.0, 3.0], [1.0, -3.0], [2.0, 4.0], [9.0, 9.0]]])
    objects = Objects(
        torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [80, 80, 90, 90]]),
        torch.tensor([0, 1, 0]),
        torch.tensor([0, 0, 0]),
    )
    logits, seen = best_queries(scores, boxes, 'sigmoid', objects)
    assert logits[:2].tolist() == [[1.0, -3.0], [-2.0, 3.0]]
    assert seen.tolist() == [True, True, False]


def test_losses_that_are_called_otherwise_are_refused():
    student = student_of('DETR')
    data = prepared(student, 'DETR')
    adapter = ObjectAdapter(student, teacher_of('DETR'))
    handles = adapter.attach()

    def run():
        adapter.reset()
        adapter.prepare(*data)
        student(*data, mode='loss')

    run()
    del adapter.reader.losses[0]
    with pytest.raises(ValueError, match='DETRHead called loss_cls 1 and loss_iou 2 times for 2 l'):
        adapter.batch(*data)
    run()
    adapter.reader.losses.reverse()
    with pytest.raises(ValueError, match='on other rows than those of layer 1 of its decoder'):
        adapter.batch(*data)
    run()
    data[1][0].gt_instances.bboxes += 3
    with pytest.raises(ValueError, match='its loss_iou in layer 1 of the decoder are not those of'):
        adapter.batch(*data)
    for handle in handles:
        handle.remove()


def test_a_validation_reads_without_a_graph():
    student = student_of('DETR')
    adapter = ObjectAdapter(student, teacher_of('DETR'))
    with torch.no_grad():
        batch, _ = forward(adapter, *prepared(student, 'DETR', objects=(3, 2)))
    assert len(batch.labels) == 5
    assert not batch.student.requires_grad
