"""Classes of a teacher by the names of the student's."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import InstanceData

from sortkd_det.distill import ClassMap, LogitBatch

OWN = ['dog', 'cat', 'pedestrian']
OTHER = ['cat', 'car', 'dog', 'person', 'bus']
RENAMED = {'person': 'pedestrian'}


@pytest.fixture
def mapped():
    return ClassMap(OWN, OTHER, RENAMED)


def draw(*shape):
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_each_class_is_found_by_its_name(mapped):
    assert mapped.index == [2, 0, 3]


def test_a_sigmoid_leaves_other_classes_out(mapped):
    logits = draw(7, 5)
    assert torch.equal(mapped.columns(logits, 'sigmoid'), logits[:, [2, 0, 3]])


def test_a_softmax_pours_them_into_background(mapped):
    logits = draw(7, 6)
    chance, found = logits.softmax(1), mapped.columns(logits, 'softmax').softmax(1)
    expected = torch.cat([chance[:, [2, 0, 3]], chance[:, [1, 4, 5]].sum(1, keepdim=True)], 1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize('activation', ['softmax', 'sigmoid'])
def test_classes_may_lie_along_any_dimension(mapped, activation):
    columns = 5 + (activation == 'softmax')
    logits = draw(4, columns, 3)
    found = mapped.columns(logits, activation, 1)
    rows = mapped.columns(logits.transpose(1, 2).flatten(0, 1), activation)
    assert torch.equal(found.transpose(1, 2).flatten(0, 1), rows)
    assert torch.equal(
        mapped.columns(logits.transpose(1, 2), activation, -1), found.transpose(1, 2)
    )


@pytest.mark.parametrize(
    ('own', 'other', 'renamed'),
    [
        pytest.param(None, None, None, id='no names'),
        pytest.param(OWN, OWN, None, id='the same names'),
        pytest.param(None, OTHER, None, id='only those of the teacher'),
        pytest.param(OWN, ['dog', 'cat', 'person'], RENAMED, id='other names of the same'),
    ],
)
def test_logits_of_the_same_classes_are_not_touched(own, other, renamed):
    same, logits = ClassMap(own, other, renamed), draw(2, 3)
    assert same.columns(logits, 'sigmoid') is logits
    batch = batch_of([0, 1, 2])
    assert same.mask(batch) is batch
    samples = [object()]
    assert same.relabel(samples) is samples
    same.check_same()
    same.check_numbers(3, 3)


def batch_of(labels):
    return LogitBatch(
        student=torch.zeros(len(labels), 3),
        teacher=torch.zeros(len(labels), 3),
        labels=torch.tensor(labels),
        weight=torch.full((len(labels),), 2.0),
        activation='sigmoid',
        background=3,
    )


def test_classes_that_the_teacher_lacks_are_not_taught():
    partly = ClassMap(OWN, OTHER, unmapped='ignore')
    assert partly.index == [2, 0, -1]
    logits = draw(4, 6)
    found = partly.columns(logits[:, :5], 'sigmoid')
    assert torch.equal(found[:, :2], logits[:, [2, 0]])
    assert found[:, 2].sigmoid().max() < 2e-6
    chance = partly.columns(logits, 'softmax').softmax(1)
    torch.testing.assert_close(chance[:, :2], logits.softmax(1)[:, [2, 0]], rtol=2e-6, atol=0)
    assert chance[:, 2].max() < 2e-6
    masked = partly.mask(batch_of([2, 0, 3, 2, 1]))
    assert masked.weight.tolist() == [0, 2, 2, 0, 2]


def test_an_adapter_that_maps_nothing_is_found_out(mapped):
    with pytest.raises(RuntimeError, match='the adapter did not map them'):
        mapped.mask(batch_of([0]))
    with pytest.raises(ValueError, match=r'5 classes, and its logits \(1, 5\) .* expected 6'):
        mapped.columns(draw(1, 5), 'softmax')
    mapped.columns(draw(1, 5), 'sigmoid')
    assert mapped.mask(batch_of([0])).weight.tolist() == [2]


def test_predictions_get_the_students_labels(mapped):
    found = InstanceData(labels=torch.tensor([0, 1, 3, 2]), scores=torch.arange(4.0))
    (sample,) = mapped.relabel([SimpleNamespace(pred_instances=found)])
    assert sample.pred_instances.labels.tolist() == [1, 2, 0]
    assert sample.pred_instances.scores.tolist() == [0, 2, 3]


def test_what_is_left_out_is_said_in_one_line(mapped, caplog, monkeypatch):
    said = []
    monkeypatch.setattr(
        'sortkd_det.distill.class_map.print_log', lambda text, **_: said.append(text)
    )
    mapped.tell()
    ClassMap(OWN, OTHER, unmapped='ignore').tell()
    ClassMap(OWN, OWN).tell()
    ClassMap(['bus'], list('abcde') + ['bus']).tell()
    ClassMap(['bus'], list('abcdefg') + ['bus']).tell()
    assert said == [
        'the teacher teaches 3 of its 5 classes by name; left out are car, bus',
        'the teacher teaches 2 of its 5 classes by name; left out are car, person, bus; '
        'not taught, as it lacks them, are pedestrian',
        'the teacher teaches 1 of its 6 classes by name; left out are a, b, c, d, e',
        'the teacher teaches 1 of its 8 classes by name; left out are a, b, c, d, e and 2 more',
    ]


@pytest.mark.parametrize(
    ('arguments', 'exception', 'says'),
    [
        pytest.param(
            [OWN, OTHER],
            ValueError,
            r"differ in their classes: 5 and 3; only the teacher has \['car', 'person', 'bus'\], "
            r"only the student \['pedestrian'\].*class_map=.*unmapped='ignore'",
            id='a class that the teacher lacks',
        ),
        pytest.param(
            [OWN, ['bus', 'car'], None, 'ignore'],
            ValueError,
            'differ in their classes',
            id='nothing in common',
        ),
        pytest.param(
            [OWN, OTHER, {'pedestrian': 'person'}],
            ValueError,
            r"class_map names \['pedestrian'\], which are no classes of the teacher; expected "
            r"\{the teacher's name: the student's\}",
            id='the wrong way round',
        ),
        pytest.param(
            [OWN, OTHER, {'person': 'walker'}],
            ValueError,
            r"names \['walker'\], which are no classes of the student",
            id='no class of the student',
        ),
        pytest.param(
            [['cat', 'cat', 'dog'], ['dog', 'cat']],
            ValueError,
            "the data set names 'cat' 2 times among its classes",
            id='a class of the student twice',
        ),
        pytest.param(
            [OWN, OTHER, {'person': 'pedestrian', 'bus': 'pedestrian'}],
            ValueError,
            "several classes of the teacher are 'pedestrian' of the student",
            id='two for one',
        ),
        pytest.param([OWN, OTHER, ['person']], TypeError, r"got \['person'\]", id='a list'),
        pytest.param(
            [OWN, None, RENAMED],
            ValueError,
            'the checkpoint of the teacher names no',
            id='no names',
        ),
        pytest.param(
            [OWN, OTHER, None, 'skip'], ValueError, "'error', 'ignore', got 's", id='skip'
        ),
    ],
)
def test_what_does_not_fit_is_refused(arguments, exception, says):
    with pytest.raises(exception, match=says):
        ClassMap(*arguments)


def test_numbers_are_held_against_the_names(mapped):
    mapped.check_numbers(3, 5)
    with pytest.raises(ValueError, match='head of the teacher has 80 classes and 5 have names'):
        mapped.check_numbers(3, 80)
    with pytest.raises(ValueError, match='head of the student has 4 classes and 3 have names'):
        mapped.check_numbers(4, 5)
    with pytest.raises(ValueError, match=r'number of classes: 80 and 3; .* names'):
        ClassMap().check_numbers(3, 80)
    with pytest.raises(ValueError, match="only the student \\['pedestrian'\\]"):
        mapped.check_same()
