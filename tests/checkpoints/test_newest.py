import os

import pytest
from odd_checkpoints import HUB, save

from sortkd_det.checkpoints import newest_checkpoint, note_last_checkpoint

OF_A_RUN = {'state_dict': {}, 'meta': {'epoch': 1}, 'message_hub': HUB}


@pytest.fixture
def run(tmp_path):
    """A work dir with three checkpoints, of which epoch_2.pth is noted as the newest."""
    for age, name in enumerate(('epoch_2.pth', 'epoch_1.pth', 'stopped_iter_7.pth', 'other.pth')):
        os.utime(save(OF_A_RUN, tmp_path / name), (100 - age, 100 - age))
    note_last_checkpoint(str(tmp_path), str(tmp_path / 'epoch_1.pth'))
    return tmp_path


def test_the_one_that_is_noted_comes_first(run):
    assert newest_checkpoint(str(run)) == str(run / 'epoch_1.pth')
    assert not list(run.glob('.*'))


def test_in_a_folder_that_was_moved_the_note_still_holds(run, tmp_path_factory):
    moved = tmp_path_factory.mktemp('moved') / 'run'
    run.rename(moved)
    assert newest_checkpoint(str(moved)) == str(moved / 'epoch_1.pth')
    moved.rename(run)


def test_without_a_note_the_youngest_counts(run):
    (run / 'last_checkpoint').unlink()
    assert newest_checkpoint(str(run)) == str(run / 'epoch_2.pth')


def test_one_that_does_not_load_is_named_and_the_next_is_tried(run):
    (run / 'epoch_1.pth').write_bytes(b'cut off')
    save({'state_dict': {}}, run / 'epoch_2.pth')
    with pytest.warns(UserWarning, match='the one before is tried') as warned:
        assert newest_checkpoint(str(run)) == str(run / 'stopped_iter_7.pth')
    first, second = sorted(str(each.message) for each in warned)
    assert 'epoch_1.pth cannot be resumed from' in first
    assert "it holds only ['state_dict']" in second


def test_a_folder_without_checkpoints_has_none(tmp_path):
    save(OF_A_RUN, tmp_path / 'best_epoch_1.pth')
    assert newest_checkpoint(str(tmp_path)) is None
