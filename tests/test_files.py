import os

import pytest

from sortkd_det.files import digest_of, written_whole


class Killed(BaseException):
    pass


@pytest.mark.parametrize('unique', [False, True])
def test_a_file_takes_its_name_when_it_is_whole(tmp_path, unique):
    path = tmp_path / 'x.txt'
    path.write_text('old')
    with written_whole(path, unique) as partial:
        partial.write_text('new')
        assert partial.parent == tmp_path
        assert partial.name.startswith('.x.txt.')
        assert partial.suffix == '.partial'
        assert path.read_text() == 'old'
    assert path.read_text() == 'new'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('error', [OSError, KeyboardInterrupt, Killed])
def test_an_error_leaves_what_was_there(tmp_path, error):
    path = tmp_path / 'x.txt'
    path.write_text('old')

    def write_half():
        with written_whole(path) as partial:
            partial.write_text('half a')
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_may_be_written_so_too(tmp_path):
    path = tmp_path / 'data'
    left = tmp_path / '.data.partial'
    left.mkdir()
    (left / 'of a run that was killed').touch()
    with written_whole(path) as partial:
        partial.mkdir()
        (partial / 'a').write_text('x')
    assert [each.name for each in tmp_path.rglob('*')] == ['data', 'a']
    with pytest.raises(OSError, match='data'), written_whole(path) as partial:
        partial.mkdir()  # of a folder that holds something, none takes the place
    assert (path / 'a').read_text() == 'x'
    assert list(tmp_path.iterdir()) == [path]


def test_writers_at_one_time_do_not_meet(tmp_path):
    path = tmp_path / 'x'
    with written_whole(path, unique=True) as first, written_whole(path, unique=True) as second:
        first.write_text('1')
        second.write_text('2')
    assert path.read_text() == '1'  # the outer one ends last
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_written_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='partial'), written_whole(tmp_path / 'x'):
        pass


def test_a_digest_is_that_of_the_content(tmp_path):
    path = tmp_path / 'x'
    path.write_bytes(b'abc')
    first = digest_of(path)
    assert first == 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    path.write_bytes(b'abd')  # of the same size
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1))
    assert digest_of(path) != first
