"""Several processes have the gradients, images and rows of one."""

import pytest
import torch
from every_loss import BY_ROW
from many_processes import (
    CTKD,
    DKD,
    DKD_FOREGROUND,
    EXACT,
    MANY,
    REPO,
    SORTKD,
    Jobs,
    classifier,
    detector,
)
from mmengine.config import Config

from sortkd_det.cli.method_tables import method_rows

# MLKD's and DIST's losses relate the rows of a batch, PKD's the places of its maps; each process
# has its own of these.
OF_ROWS = {type(loss).__name__ for loss in BY_ROW.values()}
BY_ROWS = [row.name for row in method_rows() if OF_ROWS.issuperset(row.losses)]


def difference(several, one):
    """‖several - one‖ / ‖one‖ of two dicts of tensors."""
    assert several.keys() == one.keys()
    between = sum((several[name] - one[name]).square().sum() for name in one)
    return float((between / sum(value.square().sum() for value in one.values())).sqrt())


def learned(gradients):
    return {name: value for name, value in gradients.items() if name.endswith('theta')}


DIFFERENCES = {}  # the largest of each number of processes


@pytest.fixture(scope='module', autouse=True)
def say_how_equal():
    yield
    for processes, largest in DIFFERENCES.items():
        print(f'\ngradients of {processes} processes and of one differ by {largest:.1e} at most')


def assert_equal_gradients(several, one, steps, limit=1e-5):
    """Every process has the gradients of one process that has the whole batch."""
    for rank, process in enumerate(several):
        assert len(process['gradients']) == len(one['gradients']) == steps
        for own, whole in zip(process['gradients'], one['gradients'], strict=True):
            pairs = [(own, whole)]
            if learned(whole):
                pairs.append((learned(own), learned(whole)))
            for pair in pairs:
                found = difference(*pair)
                DIFFERENCES[len(several)] = max(found, DIFFERENCES.get(len(several), 0))
                assert found < limit, rank


@pytest.mark.parametrize('processes', MANY)
@pytest.mark.parametrize('name', ['sortkd', 'dkd', 'ctkd', 'sld'])
def test_classifiers_have_the_gradients_of_one_process(results, name, processes):
    (one,) = results[name, 1]
    assert_equal_gradients(results[name, processes], one, steps=3)
    assert bool(learned(one['gradients'][0])) == (name == 'ctkd')


@pytest.mark.parametrize('processes', MANY)
def test_detectors_have_the_gradients_of_one_process(results, processes):
    """SortKD, DKD of the foreground and CTKD at once, beside the detector's own losses."""
    (one,) = results['detector', 1]
    several = results['detector', processes]
    assert_equal_gradients(several, one, steps=2)
    assert learned(one['gradients'][0])
    for step, (rows, foreground) in enumerate(one['rows']):
        counts = [process['rows'][step] for process in several]
        assert {number for number, _ in counts} == {rows / processes}
        assert sum(number for _, number in counts) == foreground
    assert len({process['rows'][0][1] for process in several}) > 1  # or the average proves nothing


@pytest.mark.parametrize('processes', MANY)
@pytest.mark.parametrize('name', ['sld', 'detector'])
def test_each_image_is_augmented_as_in_one_process(results, name, processes):
    """Batches of B in W processes hold what a batch of W · B holds, in the order r, r + W, …"""
    (one,) = results[name, 1]
    for step, (numbers, images) in enumerate(one['batches']):
        for rank, process in enumerate(results[name, processes]):
            own_numbers, own_images = process['batches'][step]
            assert own_numbers == numbers[rank::processes]
            views = (
                zip(own_images, images, strict=True) if name == 'sld' else [(own_images, images)]
            )
            for own, whole in views:
                assert torch.equal(own, whole[rank::processes])


@pytest.fixture(scope='module', params=['cpu', pytest.param('cuda', marks=pytest.mark.cuda)])
def on_one_device(request, tmp_path_factory, pictures, teacher_weights, toy_data, random_teacher):
    """Runs of one process and of two that share a device; classifiers in float32, whose loss is one
    kernel on CUDA.
    """
    jobs = Jobs(tmp_path_factory.mktemp(request.param), request.param)
    for name, term in (('sortkd', SORTKD), ('dkd', DKD)):
        cfg = classifier(pictures, teacher_weights, [term])
        jobs.add(name, cfg, [1, 2], frozen=True)
    terms = [SORTKD, DKD_FOREGROUND, CTKD]
    cfg = detector(toy_data, random_teacher, terms)
    jobs.add('detector', cfg, [1, 2], **EXACT, detection=True)
    return jobs.start()


@pytest.mark.parametrize(
    ('name', 'steps', 'limit'), [('sortkd', 3, 1e-4), ('dkd', 3, 1e-4), ('detector', 2, 1e-5)]
)
def test_two_processes_on_one_device_have_the_gradients_of_one(on_one_device, name, steps, limit):
    (one,) = on_one_device[name, 1]
    assert_equal_gradients(on_one_device[name, 2], one, steps, limit)


@pytest.fixture(scope='module')
def all_methods(tmp_path_factory, pictures, teacher_weights, toy_data, random_teacher):
    """A run of every method that looks at rows one by one, for both kinds of students."""
    jobs = Jobs(tmp_path_factory.mktemp('methods'))
    for name in BY_ROWS:
        method = Config.fromfile(REPO / f'configs/_base_/methods/{name}.py').method
        cfg = classifier(pictures, teacher_weights, method)
        cfg.model.data_preprocessor.update(type='DoublePreprocessor', num_views=2)
        jobs.add(f'classifier {name}', cfg, **EXACT)
        cfg = detector(toy_data, random_teacher, method)
        jobs.add(f'detector {name}', cfg, [1, 2], **EXACT, detection=True)
    return jobs.start(3000)


@pytest.mark.slow
@pytest.mark.parametrize('name', BY_ROWS)
@pytest.mark.parametrize(
    ('kind', 'steps', 'processes'),
    [('classifier', 3, 2), ('classifier', 3, 4), ('detector', 2, 2)],
)
def test_every_method_has_the_gradients_of_one_process(all_methods, kind, steps, processes, name):
    (one,) = all_methods[f'{kind} {name}', 1]
    assert_equal_gradients(all_methods[f'{kind} {name}', processes], one, steps)


# -- processes with little to do ---------------------------------------------


def test_a_process_without_objects_holds_nobody_up(results):
    """No parameter is unused: DDP does not look for them."""
    several = [process for (_, number), found in results.items() if number > 1 for process in found]
    assert {process['find_unused_parameters'] for process in several} == {False}
    with_object, without = results['one object', 2]
    assert [rows for rows in with_object['rows']] == [(128, 1), (128, 0)]
    assert [rows for rows in without['rows']] == [(128, 0), (128, 0)]
    assert len(without['gradients']) == 2
    assert learned(without['gradients'][0])


def test_less_foreground_than_processes_has_the_gradients_of_one_process(results):
    (one,) = results['one object', 1]
    assert_equal_gradients(results['one object', 2], one, steps=2)
