import pickle

import pytest

from sortkd_det.checkpoints import CheckpointRefused


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({}, 'x.pth holds no weights'),
        ({'place': 'meta'}, 'x.pth, at meta, holds no weights'),
        ({'advice': 'name another'}, 'x.pth holds no weights; name another'),
        (
            {'place': 'meta', 'advice': 'name another'},
            'x.pth, at meta, holds no weights; name another',
        ),
    ],
)
def test_its_message_is_one_sentence(options, message):
    error = CheckpointRefused('x.pth', 'holds no weights', **options)
    assert str(error) == message
    assert isinstance(error, ValueError)


def test_it_passes_from_process_to_process():
    error = CheckpointRefused('x.pth', 'holds no weights', 'meta', 'name another')
    copy = pickle.loads(pickle.dumps(error))
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)
