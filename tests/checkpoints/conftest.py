"""A record of a run, a folder that is served over http, and a file that must not appear."""

import functools
import os
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub


@pytest.fixture
def canary(tmp_path):
    """A file that must not appear."""
    return tmp_path / 'canary'


@pytest.fixture
def hub():
    """MMEngine's own record of a run: scalars as HistoryBuffer, numbers beside them."""
    hub = MessageHub(f'test_checkpoint_{os.urandom(4).hex()}')
    for step in range(5):
        hub.update_scalar('train/loss', 3.0 / (step + 1), count=2)
    hub.update_scalar('val/coco/bbox_mAP', 0.25)
    hub.update_info('epoch', 3)
    hub.update_info('best_score', np.float64(0.25))
    return hub


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Address of a folder, served over http; torch's hub folder is a fresh one."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    folder, hub_folder = tmp_path / 'served', tmp_path / 'hub'
    folder.mkdir()
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(hub_folder))
    handler = functools.partial(Quiet, directory=folder)
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield folder, f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
    torch.hub.set_dir(before)
