"""The networks against figures from the zoo of the methods' authors.

``tests/data/zoo_state_dicts.json``: of each network the number of parameters, the number of
entries of its state dict and the SHA-256 of the JSON list of their (name, shape), in order.
``tests/data/zoo_logits.npz``: logits of nine of them, with the weights of :func:`fill`.
"""

import copy
import hashlib
import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from any_network import images, network, shapes_of
from torch import nn

DATA = Path(__file__).parents[2] / 'data'
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
RELATED = ('cifar/ShuffleV1', 'tiny_imagenet/MobileNetV2', 'imagenet/MobileNetV2')  # to ones there


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


# -- sizes of images ---------------------------------------------------------


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


@pytest.mark.parametrize(
    'name',
    [pytest.param(name, marks=pytest.mark.slow) if name in RELATED else name for name in FAMILIES],
)
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
