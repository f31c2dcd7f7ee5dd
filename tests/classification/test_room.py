"""The preprocessor and the metric by themselves."""

import numpy as np
import pytest
import torch

from sortkd_det.classification import Accuracy, ImagePreprocessor
from sortkd_det.classification.augment import normalize
from sortkd_det.classification.confusion import draw_confusion

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)


def batch_of(indices, epoch=0, side=32):
    """Pictures that depend on their index alone."""
    images = torch.stack(
        [
            torch.randint(
                256, (3, side, side), generator=torch.Generator().manual_seed(i), dtype=torch.uint8
            )
            for i in indices
        ]
    )
    return dict(
        inputs=images,
        labels=torch.tensor([i % 3 for i in indices]),
        indices=torch.tensor(indices),
        epoch=epoch,
    )


def test_in_testing_images_are_normalised_and_no_more():
    batch = batch_of([4, 7])
    result = ImagePreprocessor(MEAN, STD)(batch)
    expected = normalize(batch['inputs'], torch.tensor(MEAN), torch.tensor(STD))
    assert torch.equal(result['inputs'], expected)
    assert torch.equal(result['data_samples']['labels'], batch['labels'])
    assert result['data_samples']['epoch'] == 0


@pytest.mark.parametrize('num_views', [1, 2])
def test_an_image_is_augmented_alike_in_every_batch_of_an_epoch(num_views):
    preprocessor = ImagePreprocessor(MEAN, STD, num_views=num_views, seed=3)

    def views(indices, epoch=0):
        inputs = preprocessor(batch_of(indices, epoch), training=True)['inputs']
        return inputs if num_views == 2 else [inputs]

    for together, alone, later in zip(
        views([5, 2, 9]), views([2]), views([2], epoch=1), strict=True
    ):
        assert torch.equal(together[1], alone[0])
        assert not torch.equal(later, alone)


def test_the_second_view_is_another_crop_strongly_augmented():
    preprocessor = ImagePreprocessor(MEAN, STD, num_views=2, seed=3)
    first, second = preprocessor(batch_of(range(20)), training=True)['inputs']
    grey = normalize(torch.full((1, 3, 1, 1), 127), torch.tensor(MEAN), torch.tensor(STD))
    assert ((second == grey).all(1).flatten(1).sum(1) >= 8 * 8).all()  # a quarter of the cut-out
    assert not (first == grey).all(1).flatten(1).sum(1).ge(8 * 8).any()
    one = ImagePreprocessor(MEAN, STD, seed=3)(batch_of(range(20)), training=True)['inputs']
    assert torch.equal(one, first)  # the second view changes nothing in the first


def test_without_padding_and_flip_images_are_as_they_were():
    preprocessor = ImagePreprocessor(MEAN, STD, padding=0, flip=False)
    batch = batch_of([0, 1, 2])
    assert torch.equal(preprocessor(batch, training=True)['inputs'], preprocessor(batch)['inputs'])


def test_the_seed_is_that_of_the_run_unless_given():
    torch.manual_seed(11)
    assert ImagePreprocessor(MEAN, STD).seed == 11
    assert ImagePreprocessor(MEAN, STD, seed=5).seed == 5


def test_channels_last_and_no_entries_in_the_state_dict():
    preprocessor = ImagePreprocessor(MEAN, STD, channels_last=True)
    inputs = preprocessor(batch_of([0, 1]), training=True)['inputs']
    assert inputs.is_contiguous(memory_format=torch.channels_last)
    assert not preprocessor.state_dict()


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'num_views': 3}, ValueError, 'num_views must be 1 or 2, got 3'),
        ({'padding': -1}, ValueError, 'padding must be at least 0'),
        ({'padding': 1.5}, TypeError, 'padding must be a whole number'),
        ({'std': (1, 0, 1)}, ValueError, 'std > 0'),
        ({'std': (1, 1)}, ValueError, 'one number a channel'),
    ],
)
def test_unfit_settings_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        ImagePreprocessor(**{'mean': MEAN, 'std': STD, **arguments})


# -- accuracy ----------------------------------------------------------------


def predictions(num=40, num_classes=7):
    generator = torch.Generator().manual_seed(0)
    return dict(
        logits=torch.randn(num, num_classes, generator=generator),
        labels=torch.randint(num_classes, (num,), generator=generator),
        indices=torch.arange(num),
    )


def test_top_k_is_the_share_of_labels_among_the_k_highest():
    sample = predictions()
    metric = Accuracy(topk=(1, 3, 7), per_class=True)
    metric.dataset_meta = {'classes': [f'c{i}' for i in range(7)]}
    half = [
        {key: value[rows] for key, value in sample.items()} for rows in (slice(25), slice(25, 40))
    ]
    for part in half:
        metric.process(None, [part])
    metrics = metric.evaluate(40)
    for k in (1, 3, 7):
        top = sample['logits'].topk(k).indices
        expected = 100 * (top == sample['labels'][:, None]).any(1).float().mean()
        assert metrics[f'accuracy/top{k}'] == pytest.approx(float(expected), rel=1e-6)
    own = sample['labels'] == 2
    right = sample['logits'].argmax(1)[own] == 2
    assert metrics['accuracy/top1/c2'] == pytest.approx(100 * float(right.float().mean()))


def test_an_image_that_was_padded_in_counts_once():
    sample = predictions(10)
    repeated = {key: torch.cat([value, value[:3]]) for key, value in sample.items()}
    metrics = []
    for part in (sample, repeated):
        metric = Accuracy(topk=(1,))
        metric.process(None, [part])
        metrics.append(metric.compute_metrics(metric.results))
    assert metrics[0] == metrics[1]


def test_logits_that_are_no_numbers_are_wrong_and_ties_go_to_the_lower_class():
    for logits, expected in (
        (torch.full((4, 10), torch.nan), 0.0),
        (torch.zeros(4, 10), 25.0),  # only label 0 is first among equals
    ):
        metric = Accuracy(topk=(1,))
        sample = dict(logits=logits, labels=torch.arange(4), indices=torch.arange(4))
        metric.process(None, [sample])
        assert metric.compute_metrics(metric.results) == {'top1': expected}


def test_autocast_moves_no_pixel():
    preprocessor = ImagePreprocessor(MEAN, STD, num_views=2, seed=3)
    expected = preprocessor(batch_of(range(64)), training=True)['inputs']
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = preprocessor(batch_of(range(64)), training=True)['inputs']
    for first, second in zip(expected, inside, strict=True):
        assert torch.equal(first, second)


def test_a_confusion_matrix_is_drawn(tmp_path):
    counts = np.array([[5, 1], [0, 0]])  # a class without images divides by nothing
    path = draw_confusion(counts, ['cat', 'dog'], tmp_path / 'new/folder.png')
    assert path.stat().st_size > 1000


def test_unfit_ks_are_refused():
    with pytest.raises(ValueError, match='topk must be at least 1, got 0'):
        Accuracy(topk=(0,))
