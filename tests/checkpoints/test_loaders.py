"""MMEngine's loaders of checkpoints are ours."""

import mmengine.runner.checkpoint
import pytest
import torch
from mmengine.runner import CheckpointLoader
from odd_checkpoints import GADGETS, gadgets, save, scalars_of, zip_and_legacy

from sortkd_det.checkpoints import CheckpointRefused


def load_with_mmengine(address):
    return CheckpointLoader.load_checkpoint(str(address), map_location='cpu')


@GADGETS
def test_mmengine_reads_local_files_through_ours(tmp_path, canary, hub, name):
    good = save({'message_hub': hub.state_dict()}, tmp_path / 'good.pth')
    assert scalars_of(load_with_mmengine(good)['message_hub']) == scalars_of(hub.state_dict())
    bad = save({'state_dict': {}, 'meta': gadgets(canary)[name]}, tmp_path / 'bad.pth')
    with pytest.raises(CheckpointRefused):
        load_with_mmengine(bad)
    assert not canary.exists()


@zip_and_legacy
def test_mmengine_reads_http_addresses_through_ours(server, canary, hub, as_zip):
    folder, address = server
    save({'message_hub': hub.state_dict()}, folder / 'good.pth')
    loaded = load_with_mmengine(f'{address}/good.pth')
    assert scalars_of(loaded['message_hub']) == scalars_of(hub.state_dict())
    save({'state_dict': {}, 'meta': gadgets(canary)['system']}, folder / 'bad.pth', as_zip)
    with pytest.raises(CheckpointRefused, match='system'):
        load_with_mmengine(f'{address}/bad.pth')
    assert not canary.exists()


def serve_as(monkeypatch, names, address):
    """Let MMEngine's lists of named weights give ``address`` for the name ``net``."""
    monkeypatch.setattr(mmengine.runner.checkpoint, names, lambda: {'net': address})


def test_mmengine_reads_named_backbones_through_ours(server, canary, monkeypatch):
    folder, address = server
    names = {'good': f'{address}/good.pth', 'bad': f'{address}/bad.pth'}
    monkeypatch.setattr('mmengine.runner.checkpoint.get_external_models', lambda: names)
    save({'epoch': 1}, folder / 'good.pth')
    save(gadgets(canary), folder / 'bad.pth')
    for scheme in ('open-mmlab', 'openmmlab'):
        assert load_with_mmengine(f'{scheme}://good') == {'epoch': 1}
        with pytest.raises(CheckpointRefused):
            load_with_mmengine(f'{scheme}://bad')
        with pytest.raises(ValueError, match=f'unknown backbone {scheme}://nowhere.*bad, good'):
            load_with_mmengine(f'{scheme}://nowhere')
    assert not canary.exists()


@pytest.mark.parametrize(
    ('scheme', 'names'),
    [
        ('torchvision', 'get_torchvision_models'),
        ('modelzoo', 'get_torchvision_models'),
        ('mmcls', 'get_mmcls_models'),
    ],
)
def test_no_other_scheme_of_mmengine_runs_code(server, canary, monkeypatch, scheme, names):
    folder, address = server
    save({'state_dict': {}, 'meta': gadgets(canary)['system']}, folder / 'bad.pth')
    serve_as(monkeypatch, names, f'{address}/bad.pth')
    with pytest.raises(CheckpointRefused):
        load_with_mmengine(f'{scheme}://net')
    assert not canary.exists()


def test_weights_of_mmclassification_are_those_of_the_backbone(server, monkeypatch):
    folder, address = server
    weights = {'backbone.conv.weight': torch.ones(2), 'head.fc.weight': torch.zeros(3)}
    save({'state_dict': weights}, folder / 'net.pth')
    serve_as(monkeypatch, 'get_mmcls_models', f'{address}/net.pth')
    loaded = load_with_mmengine('mmcls://net')['state_dict']
    assert set(loaded) == {'conv.weight'}
    assert torch.equal(loaded['conv.weight'], torch.ones(2))


def test_names_that_mmengine_replaced_still_find_their_weights(server, monkeypatch):
    folder, address = server
    save({'epoch': 2}, folder / 'new.pth')
    renamed = {'resnet50_caffe': 'detectron/resnet50_caffe'}
    monkeypatch.setattr(mmengine.runner.checkpoint, 'get_deprecated_model_names', lambda: renamed)
    names = {'detectron/resnet50_caffe': f'{address}/new.pth'}
    monkeypatch.setattr('mmengine.runner.checkpoint.get_external_models', lambda: names)
    assert load_with_mmengine('open-mmlab://resnet50_caffe') == {'epoch': 2}
