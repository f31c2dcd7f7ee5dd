"""The networks against figures from the zoo of the methods' authors.

``tests/data/zoo_state_dicts.json``: of each network the number of parameters, the number of
entries of its state dict and the SHA-256 of the JSON list of their (name, shape), in order.
``tests/data/zoo_logits.npz``: logits of nine of them, with the weights of :func:`fill`.
"""

import copy
import hashlib
import json
import math
import os
import zlib
from pathlib import Path

import mmengine.registry
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.evaluator import Evaluator
from mmengine.optim import OptimWrapper
from mmengine.registry import DefaultScope
from torch import nn

from sortkd_det.checkpoints import CheckpointRefused
from sortkd_det.classification.networks import Classifier
from sortkd_det.distill import load_weights
from sortkd_det.registry import MODELS

DATA = Path(__file__).parents[1] / 'data'
ZOO = json.loads((DATA / 'zoo_state_dicts.json').read_text())
with np.load(DATA / 'zoo_logits.npz') as _file:
    LOGITS = {name: torch.tensor(_file[name]) for name in _file.files}
ORIGINAL_SIZE = {'tiny_imagenet/MobileNetV2': 64, 'imagenet/MobileNetV1': 224}
TORCHVISION = {
    'ResNet18': 11_689_512,
    'ResNet34': 21_797_672,
    'ResNet50': 25_557_032,
    'ResNet101': 44_549_160,
    'MobileNetV2': 3_504_872,
}


def network(name, **arguments):
    return MODELS.build({'type': f'sortkd_det.{name}', **arguments})


def shapes_of(name, **arguments):
    """(name, shape) of each entry of the state dict, and the number of parameters."""
    with torch.device('meta'):
        model = network(name, **arguments)
    entries = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    return entries, sum(parameter.numel() for parameter in model.parameters())


def fill(model):
    """Make a model's weights from their names, as those behind the figures were made."""
    for key, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        seed = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        noise = torch.randn(value.shape, generator=seed)
        if key.endswith('running_var'):
            value.copy_(1 + 0.1 * noise.abs())
        elif value.dim() == 1:
            value.copy_(0.1 * noise + key.endswith('weight'))
        else:
            value.copy_(noise / math.sqrt(value[0].numel()))
    return model.eval()


def images(batch_size=2, height=32, width=None):
    generator = torch.Generator().manual_seed(21)
    return torch.randn(batch_size, 3, height, width or height, generator=generator)


@pytest.fixture
def small():
    """A network of 10 classes that is quick to run."""
    torch.manual_seed(0)
    return network('cifar/resnet8', num_classes=10)


# -- names, shapes, logits ---------------------------------------------------


@pytest.mark.parametrize('name', ZOO)
def test_the_state_dict_has_the_zoos_names_and_shapes_in_its_order(name):
    entries, num_parameters = shapes_of(name)
    assert len(entries) == ZOO[name]['entries']
    assert num_parameters == ZOO[name]['params']
    assert hashlib.sha256(json.dumps(entries).encode()).hexdigest() == ZOO[name]['sha256']


@pytest.mark.parametrize('name', LOGITS)
def test_logits_are_those_of_the_authors_code(name):
    size = ORIGINAL_SIZE.get(name, 32)
    with torch.no_grad():
        logits = fill(network(name))(images(2, size))
    expected = LOGITS[name]
    assert logits.shape == expected.shape
    assert (logits - expected).abs().max() <= 1e-5 * expected.abs().max()


def norm_names(prefix):
    entries = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    return [f'{prefix}.{entry}' for entry in entries]


def torchvision_resnet_names(blocks, num_convolutions):
    names = ['conv1.weight', *norm_names('bn1')]
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            prefix = f'layer{stage}.{block}'
            for number in range(1, num_convolutions + 1):
                names += [f'{prefix}.conv{number}.weight', *norm_names(f'{prefix}.bn{number}')]
            if block == 0 and (stage > 1 or num_convolutions == 3):
                names += [f'{prefix}.downsample.0.weight', *norm_names(f'{prefix}.downsample.1')]
    return [*names, 'fc.weight', 'fc.bias']


def torchvision_mobilenet_names():
    pairs = [('features.0.0', 'features.0.1')]
    pairs += [(f'features.1.conv.{a}', f'features.1.conv.{b}') for a, b in (('0.0', '0.1'), (1, 2))]
    inner = (('0.0', '0.1'), ('1.0', '1.1'), (2, 3))
    pairs += [
        (f'features.{block}.conv.{a}', f'features.{block}.conv.{b}')
        for block in range(2, 18)
        for a, b in inner
    ]
    pairs += [('features.18.0', 'features.18.1')]
    names = [name for conv, norm in pairs for name in (f'{conv}.weight', *norm_names(norm))]
    return [*names, 'classifier.1.weight', 'classifier.1.bias']


@pytest.mark.parametrize('name', TORCHVISION)
def test_imagenet_networks_have_torchvisions_names_and_number_of_parameters(name):
    expected = {
        'ResNet18': lambda: torchvision_resnet_names((2, 2, 2, 2), 2),
        'ResNet34': lambda: torchvision_resnet_names((3, 4, 6, 3), 2),
        'ResNet50': lambda: torchvision_resnet_names((3, 4, 6, 3), 3),
        'ResNet101': lambda: torchvision_resnet_names((3, 4, 23, 3), 3),
        'MobileNetV2': torchvision_mobilenet_names,
    }[name]()
    entries, num_parameters = shapes_of(f'imagenet/{name}')
    assert [key for key, _ in entries] == expected
    assert num_parameters == TORCHVISION[name]


def test_imagenet_networks_have_torchvisions_shapes_where_variants_differ():
    resnet, _ = shapes_of('imagenet/ResNet50')
    assert dict(resnet)['conv1.weight'] == [64, 3, 7, 7]
    assert dict(resnet)['layer2.0.conv1.weight'] == [128, 256, 1, 1]
    assert dict(resnet)['layer2.0.downsample.0.weight'] == [512, 256, 1, 1]
    mobilenet, _ = shapes_of('imagenet/MobileNetV2')
    assert dict(mobilenet)['features.0.0.weight'] == [32, 3, 3, 3]
    assert dict(mobilenet)['features.1.conv.0.0.weight'] == [32, 1, 3, 3]
    assert dict(mobilenet)['features.17.conv.2.weight'] == [320, 960, 1, 1]


def test_imagenet_resnets_halve_where_torchvisions_do():
    """The bottleneck's stride is at its 3×3 convolution; the stem leaves a quarter."""
    model = network('imagenet/ResNet50')
    assert model.layer2[0].conv1.stride == (1, 1)
    assert model.layer2[0].conv2.stride == (2, 2)
    sizes = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        stage.register_forward_hook(lambda _, args, out: sizes.append(out.shape[-1]))
    with torch.no_grad():
        model.eval()(images(1, 64))
    assert sizes == [16, 8, 4, 2]


def test_imagenet_mobilenet_halves_where_torchvisions_does():
    model = network('imagenet/MobileNetV2').eval()
    sizes = []
    for block in model.features:
        block.register_forward_hook(lambda _, args, out: sizes.append(out.shape[-1]))
    with torch.no_grad():
        model(images(1, 64))
    assert sizes == [32] * 2 + [16] * 2 + [8] * 3 + [4] * 7 + [2] * 5
    assert {type(m) for m in model.modules() if 'ReLU' in type(m).__name__} == {nn.ReLU6}


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


# -- sizes of images ---------------------------------------------------------

FAMILIES = (
    'cifar/resnet8',
    'cifar/wrn_16_1',
    'cifar/vgg8',
    'cifar/MobileNetV2',
    'cifar/ShuffleV1',
    'cifar/ShuffleV2',
    'tiny_imagenet/MobileNetV2',
    'imagenet/MobileNetV1',
    'imagenet/MobileNetV2',
    'imagenet/ResNet18',
)


@pytest.mark.parametrize('name', FAMILIES)
def test_images_may_have_any_size_that_makes_sense(name):
    model = network(name, num_classes=5).eval()
    with torch.no_grad():
        for height, width in ((8, 8), (32, 32), (40, 56), (48, 48), (64, 64)):
            logits = model(images(2, height, width))
            assert logits.shape == (2, 5)
            assert logits.isfinite().all()


@pytest.mark.parametrize('name', [name for name in FAMILIES if name.startswith('imagenet')])
def test_networks_for_imagenet_take_its_images(name):
    with torch.no_grad():
        assert network(name).eval()(images(1, 224)).shape == (1, 1000)


@pytest.mark.parametrize(('height', 'width', 'last'), [(32, 32, 4), (48, 48, 6), (64, 80, 4)])
def test_vgg_pools_a_fourth_time_from_64_pixels_on(height, width, last):
    model = network('cifar/vgg8').eval()
    seen = []
    model.block4.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[2]))
    with torch.no_grad():
        model(images(1, height, width))
    assert seen == [last]


def test_an_image_that_is_too_small_is_answered_with_the_smallest_side():
    with pytest.raises(ValueError, match=r'cifar/vgg8 takes .* at least 8 × 8 pixels, got 9 × 7'):
        network('cifar/vgg8')(images(2, 9, 7))


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


@pytest.mark.parametrize('name', FAMILIES)
def test_the_memory_format_changes_nothing(name):
    model = network(name, num_classes=5).double().eval()
    batch, labels = images().double(), {'labels': torch.tensor([1, 2])}

    def gradients():
        model(batch, labels, mode='loss')['loss_cls'].backward()
        found = [parameter.grad.clone() for parameter in model.parameters()]
        model.zero_grad()
        return found

    contiguous = gradients()
    model.to(memory_format=torch.channels_last)
    batch = batch.to(memory_format=torch.channels_last)
    torch.testing.assert_close(gradients(), contiguous, rtol=1e-6, atol=1e-9)


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


@pytest.mark.parametrize('name', FAMILIES)
def test_a_network_is_one_graph_to_the_compiler_and_can_be_copied(name):
    model = copy.deepcopy(network(name, num_classes=5).eval())
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    with torch.no_grad():
        compiled = torch.compile(model, backend=count, fullgraph=True)(images())
        assert len(graphs) == 1
        torch.testing.assert_close(compiled, model(images()))


# -- initial weights ---------------------------------------------------------


@pytest.mark.parametrize(
    'name',
    [
        'cifar/resnet8x4',
        'cifar/wrn_16_2',
        'cifar/vgg8',
        'cifar/MobileNetV2',
        'imagenet/ResNet18',
        'imagenet/MobileNetV2',
    ],
)
def test_convolutions_start_with_the_deviation_of_he_et_al(name):
    torch.manual_seed(1)
    for module in network(name).modules():
        if isinstance(module, nn.Conv2d):
            expected = math.sqrt(2 / (module.out_channels * math.prod(module.kernel_size)))
            count = module.weight.numel()
            deviation = module.weight.detach().std().item()
            assert deviation == pytest.approx(expected, rel=5 / math.sqrt(2 * count))
            assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize(
    ('name', 'layer'),
    [
        ('cifar/vgg8', 'classifier'),
        ('cifar/MobileNetV2', 'classifier.0'),
        ('imagenet/MobileNetV2', 'classifier.1'),
    ],
)
def test_last_layers_start_small_where_the_authors_do(name, layer):
    last = network(name).get_submodule(layer)
    assert last.weight.detach().std().item() == pytest.approx(0.01, rel=0.05)
    assert not last.bias.any()


def test_wide_resnets_start_without_a_bias():
    assert not network('cifar/wrn_16_1').fc.bias.any()


# -- weights from files ------------------------------------------------------


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('key', [None, 'model', 'state_dict'])
def test_weights_are_read_from_every_usual_kind_of_file(small, tmp_path, key, prefix):
    weights = {prefix + name: value for name, value in small.state_dict().items()}
    path = str(tmp_path / 'x.pth')
    torch.save({key: weights, 'epoch': 240} if key else weights, path)
    other = network('cifar/resnet8', num_classes=10)
    load_weights(other, path)
    assert all(torch.equal(value, small.state_dict()[k]) for k, value in other.state_dict().items())


def test_weights_of_another_network_are_counted_and_named(tmp_path):
    path = str(tmp_path / 'x.pth')
    torch.save({'model': network('cifar/resnet14').state_dict()}, path)
    expected = r'36 unexpected: layer1\.1\.conv1\.weight; .* …'
    with pytest.raises(ValueError, match=expected) as error:
        load_weights(network('cifar/resnet8'), path)
    assert path in str(error.value)
    with pytest.raises(ValueError, match=r'30 missing: layer1\.2\.conv1\.weight; '):
        load_weights(network('cifar/resnet20'), path)


def test_weights_for_another_number_of_classes_are_named_with_both_shapes(small, tmp_path):
    path = str(tmp_path / 'x.pth')
    torch.save(small.state_dict(), path)
    expected = r'2 of another shape: fc\.weight \(10, 64\), the model has \(100, 64\); fc\.bias'
    with pytest.raises(ValueError, match=expected):
        load_weights(network('cifar/resnet8'), path)


def test_a_file_that_would_run_code_is_refused_and_runs_none(small, tmp_path):
    class Touch:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path / "canary"}',)

    path = str(tmp_path / 'bad.pth')
    torch.save({'model': small.state_dict(), 'opt': Touch()}, path)
    with pytest.raises(CheckpointRefused, match='system'):
        load_weights(small, path)
    assert not (tmp_path / 'canary').exists()


def test_a_file_without_weights_is_refused(small, tmp_path):
    torch.save({'epoch': 3}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match=r'holds no weights.*epoch'):
        load_weights(small, str(tmp_path / 'x.pth'))
