"""Groups of processes: that they are left when nothing of them runs any more."""

import threading
from pathlib import Path

import pytest
import torch

from sortkd_det.cli.launcher import wait_for_gloo


@pytest.fixture
def group(tmp_path):
    """A group of gloo, of this process alone."""
    rendezvous = f'file://{tmp_path / "rendezvous"}'
    torch.distributed.init_process_group('gloo', init_method=rendezvous, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='no /proc tells of threads')
def test_a_thread_of_gloo_that_runs_is_waited_for(group):
    begun, products = threading.Event(), []
    matrix = torch.rand(1500, 1500)

    def work():
        Path(f'/proc/self/task/{threading.get_native_id()}/comm').write_text('pt_gloo_runloop')
        begun.set()
        for _ in range(4):
            products.append(matrix @ matrix)  # without the interpreter's lock

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    wait_for_gloo()
    assert len(products) == 4
    thread.join()


def test_it_does_not_wait_for_other_threads(group):
    end = threading.Event()

    def work():
        while not end.is_set():
            pass

    thread = threading.Thread(target=work)
    thread.start()
    wait_for_gloo()
    assert thread.is_alive()
    end.set()
    thread.join()
