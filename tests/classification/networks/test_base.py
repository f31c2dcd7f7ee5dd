"""What every classifier takes, gives and refuses, by one that is quick to run."""

import copy

import mmengine.registry
import pytest
import torch
import torch.nn.functional as F
from any_network import images, network, shapes_of
from mmengine.evaluator import Evaluator
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope

from sortkd_det.classification.networks import Classifier

# -- registration ------------------------------------------------------------


@pytest.mark.parametrize('scope', [None, 'mmengine', 'mmdet', 'sortkd_det'])
def test_networks_are_built_by_their_prefixed_name_under_any_default_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        config = {'type': 'sortkd_det.cifar/resnet8x4', 'num_classes': 7}
        model = mmengine.registry.MODELS.build(config)
    assert isinstance(model, Classifier)
    assert model.num_classes == 7
    assert model(images()).shape == (2, 7)


def test_an_argument_that_a_network_does_not_take_is_named_with_the_network():
    with pytest.raises(TypeError, match=r"cifar/vgg8.*'num_clases'"):
        network('cifar/vgg8', num_clases=10)


@pytest.mark.parametrize(('num_classes', 'error'), [(1, ValueError), (10.0, TypeError)])
def test_a_number_of_classes_that_is_none_is_refused(num_classes, error):
    with pytest.raises(error, match='num_classes must be'):
        network('cifar/resnet8', num_classes=num_classes)


@pytest.mark.parametrize(
    ('wrong', 'error', 'message'),
    [
        (torch.zeros(2, 1, 32, 32), ValueError, r'\(N, 3, H, W\), got \(2, 1, 32, 32\)'),
        (torch.zeros(3, 32, 32), ValueError, r'\(N, 3, H, W\), got \(3, 32, 32\)'),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), TypeError, 'floating.*uint8'),
        ([torch.zeros(2, 3, 32, 32)], TypeError, 'floating Tensor, got list'),
    ],
)
def test_what_are_no_images_is_named(small, wrong, error, message):
    with pytest.raises(error, match=message):
        small(wrong)


# -- the three modes ---------------------------------------------------------


def test_tensor_gives_logits_and_predict_adds_them_to_the_data_samples(small):
    small.eval()
    samples = {'labels': torch.tensor([3, 4]), 'indices': torch.tensor([10, 11])}
    logits = small(images(), samples)
    assert logits.shape == (2, 10)
    (prediction,) = small(images(), samples, mode='predict')
    assert set(prediction) == {'labels', 'indices', 'logits'}
    assert prediction['indices'] is samples['indices']
    assert torch.equal(prediction['logits'], logits)
    assert set(samples) == {'labels', 'indices'}
    assert [set(entry) for entry in small(images(), mode='predict')] == [{'logits'}]


def test_the_loss_is_cross_entropy_and_trains_every_parameter(small):
    labels = torch.tensor([3, 9])
    losses = small(images(), {'labels': labels, 'other': 'ignored'}, mode='loss')
    assert set(losses) == {'loss_cls'}
    assert torch.equal(losses['loss_cls'], F.cross_entropy(small(images()), labels))
    losses['loss_cls'].backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in small.parameters())


def test_two_views_give_the_sum_of_their_losses_from_one_pass_each(small):
    small.eval()
    labels = {'labels': torch.tensor([3, 9])}
    first, second = images(), -images()
    seen = []
    small.loss_cls.register_forward_pre_hook(lambda _, args: seen.append(args))
    both = small([first, second], labels, mode='loss')['loss_cls']
    assert [len(args) for args in seen] == [2, 2]
    for (logits, own_labels), view in zip(seen, (first, second), strict=True):
        assert torch.equal(logits, small(view))
        assert torch.equal(own_labels, labels['labels'])
    one_by_one = [small(view, labels, mode='loss')['loss_cls'] for view in (first, second)]
    torch.testing.assert_close(both, sum(one_by_one))


def test_the_loss_is_computed_in_float32_under_autocast(small):
    labels = torch.tensor([3, 9])
    seen = []
    small.loss_cls.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.autocast('cpu', torch.bfloat16):
        loss = small(images(), {'labels': labels}, mode='loss')['loss_cls']
    assert seen[0].dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, F.cross_entropy(seen[0].float(), labels), rtol=1e-6, atol=0)


@pytest.mark.parametrize('label', [-1, 10])
def test_labels_out_of_range_are_answered_with_the_range(small, label):
    with pytest.raises(ValueError, match=rf'0…9; row 1 has {label} '):
        small(images(), {'labels': torch.tensor([0, label])}, mode='loss')


@pytest.mark.parametrize('samples', [None, {}, {'label': torch.zeros(2)}])
def test_a_loss_without_labels_is_refused(small, samples):
    with pytest.raises(ValueError, match="needs data_samples with the key 'labels'"):
        small(images(), samples, mode='loss')


def test_an_unknown_mode_is_refused(small):
    with pytest.raises(ValueError, match="mode must be one of 'tensor', 'loss', 'predict'"):
        small(images(), mode='train')


def test_a_batch_of_one_that_batch_norm_cannot_train_on_is_explained():
    model = network('imagenet/ResNet18', num_classes=10)
    with pytest.raises(ValueError, match=r'batch of 1 at 32 × 32.*at least 2.*drop_last=True'):
        model(images(1), {'labels': torch.tensor([1])}, mode='loss')
    assert model(images(2)).shape == (2, 10)
    assert model(images(1, 64)).shape == (1, 10)
    assert model.eval()(images(1)).shape == (1, 10)


def test_other_errors_of_a_network_pass_as_they_are(small):
    small.logits = lambda batch: (_ for _ in ()).throw(ValueError('something else'))
    with pytest.raises(ValueError, match=r'^something else$'):
        small(images())


# -- as a model of MMEngine --------------------------------------------------


def test_nothing_but_the_networks_own_entries_is_in_the_state_dict():
    preprocessor = {'type': 'ImgDataPreprocessor', 'mean': [1, 2, 3], 'std': [1, 1, 1]}
    with DefaultScope.overwrite_default_scope('mmengine'):
        model = network('cifar/resnet8', data_preprocessor=preprocessor)
    assert model.data_preprocessor.mean.flatten().tolist() == [1, 2, 3]
    assert list(model.state_dict()) == [key for key, _ in shapes_of('cifar/resnet8')[0]]
    assert model.loss_cls.state_dict() == {}


def test_a_training_step_updates_the_weights_and_reports_the_loss(small):
    before = copy.deepcopy(small.state_dict())
    optim_wrapper = OptimWrapper(torch.optim.SGD(small.parameters(), lr=0.1))
    batch = {'inputs': images(), 'data_samples': {'labels': torch.tensor([1, 2])}}
    log = small.train_step(batch, optim_wrapper)
    assert set(log) == {'loss', 'loss_cls'}
    assert not torch.equal(before['fc.weight'], small.fc.weight)


def test_mmengines_evaluator_hands_the_predictions_to_metrics(small):
    class Spy:
        def process(self, data_batch, data_samples):
            self.shapes = [sample['logits'].shape for sample in data_samples]

    evaluator = Evaluator([])
    evaluator.metrics = [Spy()]
    batch = {'inputs': images(), 'data_samples': {'labels': torch.tensor([1, 2])}}
    evaluator.process(data_samples=small.eval().val_step(batch), data_batch=batch)
    assert evaluator.metrics[0].shapes == [(2, 10)]


def test_init_cfg_takes_weights_from_a_file_and_none_leaves_the_networks_own(small, tmp_path):
    torch.save({'state_dict': small.state_dict()}, tmp_path / 'x.pth')
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'x.pth')}
    other = network('cifar/resnet8', num_classes=10, init_cfg=init_cfg)
    own = network('cifar/resnet8', num_classes=10)
    before = own.fc.weight.clone()
    other.init_weights()
    own.init_weights()
    assert torch.equal(other.fc.weight, small.fc.weight)
    assert torch.equal(own.fc.weight, before)
