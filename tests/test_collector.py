"""The collector is paused for as long as it is told, and left as it was."""

import gc

import pytest

from sortkd_det.collector import paused


@pytest.fixture(autouse=True)
def enabled():
    gc.enable()
    yield
    gc.enable()


def test_it_is_paused_and_goes_on():
    with paused():
        assert not gc.isenabled()
        with paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_goes_on_after_an_error():
    with pytest.raises(ValueError, match='x'), paused():
        raise ValueError('x')
    assert gc.isenabled()


def test_loaders_are_built_while_it_is_paused():
    from torch.utils.data import DataLoader, Dataset

    from sortkd_det.training import ResumableRunner

    class Watching(Dataset):
        def __init__(self):
            self.was_enabled = gc.isenabled()

        def __len__(self):
            return 1

    from mmengine.registry import DATASETS

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS._module_dict, 'Watching', Watching)
        loader = ResumableRunner.build_dataloader(
            dict(
                dataset=dict(type='Watching'),
                sampler=dict(type='DefaultSampler'),
                batch_size=1,
                num_workers=0,
            )
        )
    assert isinstance(loader, DataLoader)
    assert loader.dataset.was_enabled is False
    assert gc.isenabled()
