"""Weights of networks from files."""

import os

import pytest
import torch
from any_network import network

from sortkd_det.checkpoints import CheckpointRefused
from sortkd_det.distill import load_weights


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
