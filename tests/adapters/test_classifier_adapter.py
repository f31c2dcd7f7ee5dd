"""Classifiers: the same images for both, in one view or two."""

import pytest
import torch

from sortkd_det.adapters import ClassifierAdapter, count_classes, find_adapter
from sortkd_det.distill import ClassMap, Teacher
from sortkd_det.registry import MODELS

PREPROCESSOR = {'type': 'ImagePreprocessor', 'mean': (0.5, 0.4, 0.3), 'std': (0.2, 0.3, 0.25)}
OTHER = {'type': 'ImagePreprocessor', 'mean': (0.1, 0.2, 0.3), 'std': (0.5, 0.6, 0.7)}


def network(num_classes=3, preprocessor=PREPROCESSOR, name='cifar/resnet8'):
    config = {'type': name, 'num_classes': num_classes, 'data_preprocessor': preprocessor}
    return MODELS.build({**config, '_scope_': 'sortkd_det'})


@pytest.fixture
def make_teacher(teacher_weights):
    """A teacher whose images are normalised as ``preprocessor`` does."""
    import sortkd_det.classification  # noqa: F401

    def make(preprocessor=PREPROCESSOR):
        model = {'type': 'cifar/resnet14', 'num_classes': 3, 'data_preprocessor': preprocessor}
        config = {'default_scope': 'sortkd_det', 'model': model}
        return Teacher(config, str(teacher_weights))

    return make


def views_of(number):
    return torch.randn(number, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def batch_of(adapter, inputs, labels):
    """The batch of one forward of the student, which the hook would have been given."""
    handles = adapter.attach()
    adapter.reset()
    adapter.prepare(inputs, None)
    adapter.student(inputs, {'labels': labels}, mode='loss')
    batch = adapter.batch(inputs, None)
    for handle in handles:
        handle.remove()
    return batch


def test_it_is_found_for_two_classifiers_and_no_others(make_teacher):
    teacher = make_teacher().model
    assert find_adapter(network(), teacher) is ClassifierAdapter
    assert not ClassifierAdapter.accepts(network(), torch.nn.Identity())
    assert not ClassifierAdapter.accepts(torch.nn.Identity(), teacher)
    assert count_classes(network(5)) == {'num_classes': 5}


def test_a_teacher_of_the_same_classes_in_another_order_is_refused(make_teacher):
    teacher = make_teacher()
    teacher.class_map = ClassMap(['red', 'green', 'blue'], ['blue', 'green', 'red'])
    with pytest.raises(ValueError, match="same classes in another order: class 0 is 'blue'"):
        ClassifierAdapter(network(), teacher)


def test_the_place_of_an_image_is_all_of_it(make_teacher):
    images = views_of(1)[0][:3, :, :24]
    batch = batch_of(ClassifierAdapter(network(), make_teacher()), images, torch.tensor([0, 2, 1]))
    assert batch.find_places().tolist() == [[index, 0, 0, 32, 24] for index in range(3)]


def test_each_view_is_read_once_from_both(make_teacher):
    adapter = ClassifierAdapter(network(), make_teacher())
    first, second = views_of(2)
    labels = torch.tensor([0, 2, 1, 0])
    batch = batch_of(adapter, [first, second], labels)
    for view, images in ((batch, first), (batch.second, second)):
        with torch.no_grad():
            assert torch.equal(view.teacher, adapter.teacher.model(images))
        assert view.student.requires_grad
        assert torch.equal(view.labels, labels)
        assert view.weight.tolist() == [1.0] * 4
        assert (view.activation, view.background) == ('softmax', None)
    assert batch.second.second is None
    assert batch_of(adapter, first, labels).second is None


def test_the_teacher_sees_the_images_normalised_its_own_way(make_teacher):
    adapter = ClassifierAdapter(network(), make_teacher(OTHER))
    (images,) = views_of(1)
    batch = batch_of(adapter, images, torch.tensor([0, 2, 1, 0]))
    mean, std, own_mean, own_std = (
        torch.tensor(config[key])[:, None, None]
        for config in (PREPROCESSOR, OTHER)
        for key in ('mean', 'std')
    )
    with torch.no_grad():
        expected = adapter.teacher.model((images * std + mean - own_mean) / own_std)
        unlike = adapter.teacher.model(images)
    assert torch.equal(batch.teacher, expected)
    assert not torch.allclose(batch.teacher, unlike, atol=1e-3)


@pytest.mark.parametrize('silent', ['student', 'teacher'])
def test_a_preprocessor_that_does_not_tell_is_taken_to_be_the_same(make_teacher, silent):
    preprocessors = {'student': PREPROCESSOR, 'teacher': PREPROCESSOR, silent: None}
    student = network(preprocessor=preprocessors['student'])
    teacher = make_teacher(preprocessors['teacher'])
    (images,) = views_of(1)
    assert teacher.convert_inputs(images, student) is images


def test_a_student_that_passes_its_loss_by_is_refused(make_teacher):
    adapter = ClassifierAdapter(network(), make_teacher())
    adapter.prepare(views_of(1)[0], None)
    with pytest.raises(ValueError, match='called its loss_cls 0 times for 1 views of the images'):
        adapter.batch(None, None)


def test_models_that_do_not_fit_are_refused(make_teacher):
    with pytest.raises(ValueError, match='differ in their number of classes: 3 and 4'):
        ClassifierAdapter(network(4), make_teacher())
    with pytest.raises(ValueError, match='and the student is a Identity'):
        ClassifierAdapter(torch.nn.Identity(), make_teacher())
