"""Commands run here, and by words that stand for a cluster's."""

import errno
import fcntl
import os
import sys
import threading
import time

import pytest

from sortkd_det.studies.commands import Commands, HeldByAnotherError, held, run_command

SAY = [sys.executable, '-c', 'import sys; print(*sys.argv[1:]); sys.exit(int(sys.argv[1]))']


@pytest.fixture
def log(tmp_path):
    return tmp_path / 'output.log'


@pytest.fixture
def scheduler(tmp_path):
    """Words that run ``$@`` as a shell's line says."""

    def write(line):
        path = tmp_path / 'job.sh'
        path.write_text(f'#!/bin/sh\n{line}\n')
        path.chmod(0o755)
        return [str(path), '--gres=gpu:1']

    return write


@pytest.mark.parametrize('status', [0, 3])
def test_output_is_added_to_the_log_and_the_status_comes_back(log, tmp_path, status):
    for _ in range(2):
        assert run_command([*SAY, str(status), 'a b'], log, tmp_path) == status
    assert log.read_text() == f'{status} a b\n' * 2


@pytest.mark.parametrize(
    'line',
    [
        pytest.param('shift; exec "$@"', id='waits and passes on'),
        pytest.param('shift; "$@"; exit 0', id='waits and says nothing'),
        pytest.param('shift; "$@"; exit 1', id='waits and says something else'),
        pytest.param(
            'shift; ("$@"; true) & sleep 0.01', id='comes back early, which is waited for'
        ),
    ],
)
@pytest.mark.parametrize('status', [0, 3])
def test_a_cluster_runs_it_and_its_own_status_comes_back(log, tmp_path, scheduler, line, status):
    command = [*SAY, str(status), "it's $HOME"]
    assert run_command(command, log, tmp_path, submit=scheduler(line)) == status
    assert log.read_text() == f"{status} it's $HOME\n"
    assert [path.name for path in tmp_path.iterdir()].count('output.status') == 0


def test_a_cluster_that_does_not_wait_or_does_not_run_it_is_named(log, tmp_path, scheduler):
    log.with_suffix('.status').write_text('0')  # of an earlier run, which says nothing of this one
    with pytest.raises(RuntimeError, match=r'job\.sh --gres=gpu:1 came back before .* must wait'):
        run_command(SAY, log, tmp_path, submit=scheduler('exit 0'), patience=0.1)
    assert run_command(SAY, log, tmp_path, submit=scheduler('exit 7')) == 7
    with pytest.raises(FileNotFoundError, match='srum'):
        run_command(SAY, log, tmp_path, submit=['srum'])


def wait_for(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_commands_are_stopped_together_and_none_begins_afterwards(log, tmp_path):
    commands, codes = Commands(), []
    sleep = [sys.executable, '-c', 'import time; print("begun", flush=True); time.sleep(600)']
    thread = threading.Thread(
        target=lambda: codes.append(run_command(sleep, log, tmp_path, commands=commands))
    )
    thread.start()
    wait_for(lambda: log.is_file() and 'begun' in log.read_text())
    commands.stop()
    thread.join(60)
    assert codes == [-15]
    with pytest.raises(RuntimeError, match='stopped before it began'):
        run_command(sleep, log, tmp_path, commands=commands)


def test_a_folder_is_held_until_the_last_command_in_it_ends(log, tmp_path):
    end = tmp_path / 'end'
    wait = [
        sys.executable, '-c',
        'import os, sys, time; print("begun", flush=True)\n'
        'while not os.path.exists(sys.argv[1]): time.sleep(0.02)', str(end),
    ]  # fmt: skip
    with held(tmp_path) as file:
        with pytest.raises(HeldByAnotherError), held(tmp_path):
            pass
        options = dict(pass_fds=[file])
        thread = threading.Thread(target=run_command, args=(wait, log, tmp_path), kwargs=options)
        thread.start()
        wait_for(lambda: log.is_file() and 'begun' in log.read_text())
    with pytest.raises(HeldByAnotherError), held(tmp_path):  # as after a kill: the command goes on
        pass
    end.touch()
    thread.join(60)
    with held(tmp_path):
        pass


@pytest.mark.parametrize(
    'number', [pytest.param(errno.ENOLCK, id='none left'), pytest.param(errno.ENOTSUP, id='none')]
)
def test_a_folder_on_a_disk_without_locks_is_used_with_a_warning(number, tmp_path, monkeypatch):
    def flock(file, operation):  # there is no such disk here
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, 'flock', flock)
    with pytest.warns(UserWarning, match='has no locks.*run one at a time'), held(tmp_path / 'new'):
        assert (tmp_path / 'new').is_dir()


def test_a_lock_that_a_server_refuses_is_held_by_another(tmp_path, monkeypatch):
    def flock(file, operation):
        raise PermissionError(errno.EACCES, 'Permission denied')

    monkeypatch.setattr(fcntl, 'flock', flock)
    with pytest.raises(HeldByAnotherError, match='another process is at work in'), held(tmp_path):
        pass


def test_what_fails_while_a_folder_is_held_is_not_taken_for_another_process(tmp_path):
    with pytest.raises(BlockingIOError) as caught, held(tmp_path):
        raise BlockingIOError('a pipe is full')
    assert not isinstance(caught.value, HeldByAnotherError)
