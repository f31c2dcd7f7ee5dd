"""Downloads are whole or leave nothing; what a stranger serves is refused by name."""

import contextlib
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from odd_checkpoints import save

from sortkd_det.checkpoints import download, load_checkpoint


def test_an_address_is_downloaded_once_into_torchs_hub_folder(server):
    folder, address = server
    save({'epoch': 1}, folder / 'x.pth')
    assert load_checkpoint(f'{address}/x.pth') == {'epoch': 1}
    (folder / 'x.pth').unlink()
    assert load_checkpoint(f'{address}/x.pth') == {'epoch': 1}
    assert os.listdir(Path(torch.hub.get_dir()) / 'checkpoints') == ['x.pth']


def test_a_failed_download_says_where_to_place_the_file(server):
    _, address = server
    place = Path(torch.hub.get_dir()) / 'checkpoints' / 'nowhere.pth'
    with pytest.raises(FileNotFoundError, match='could not be downloaded') as error:
        load_checkpoint(f'{address}/nowhere.pth')
    assert str(place) in str(error.value)
    assert not place.exists()


def test_a_download_that_does_not_fit_the_digest_in_its_name_is_refused(server):
    folder, address = server
    save({'epoch': 1}, folder / 'r50-0123abcd.pth')
    with pytest.raises((ValueError, FileNotFoundError), match=r'r50-0123abcd\.pth'):
        load_checkpoint(f'{address}/r50-0123abcd.pth')
    assert not (Path(torch.hub.get_dir()) / 'checkpoints' / 'r50-0123abcd.pth').exists()


class Stranger(BaseHTTPRequestHandler):
    """Answers each path in a way of its own."""

    content = b''

    def log_message(self, *_):
        pass

    def do_GET(self):
        name = self.path.rpartition('/')[2]
        if name.startswith('to_'):
            target = {'to_file.pth': Path('/etc/hostname').as_uri(), 'to_self.pth': self.path}
            self.send_response(302)
            self.send_header('Location', target[name])
            self.end_headers()
            return
        if name == 'garbage.pth':
            self.wfile.write(b'\xff\xfe no http at all\r\n\r\n')
            return
        if name == 'silent.pth':
            time.sleep(3)
            return
        self.send_response(200)
        if name == 'chunks.pth':
            self.send_header('Transfer-Encoding', 'chunked')
        elif name != 'endless.pth':
            odd = {'cut.pth': 10**6, 'odd_length.pth': 'many'}
            self.send_header('Content-Length', odd.get(name, len(self.content)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(b'zz\r\n' if name == 'chunks.pth' else self.content)
            while name == 'endless.pth':
                self.wfile.write(bytes(2**16))


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """Address of a server one should not trust; torch's hub folder is a fresh one."""
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(download, '_TIMEOUT', 0.5)
    monkeypatch.setattr(download, '_MAX_BYTES', 2**22)
    monkeypatch.setattr(Stranger, 'content', save({'epoch': 1}, tmp_path / 'x.pth').read_bytes())
    before = torch.hub.get_dir()
    torch.hub.set_dir(str(tmp_path / 'hub'))
    with ThreadingHTTPServer(('127.0.0.1', 0), Stranger) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        server.block_on_close = False
    torch.hub.set_dir(before)


@pytest.mark.parametrize(
    ('name', 'error', 'said'),
    [
        ('cut.pth', FileNotFoundError, 'of 1000000 bytes came'),
        ('endless.pth', FileNotFoundError, 'more than 4194304 bytes'),
        ('silent.pth', FileNotFoundError, 'timed out'),
        ('garbage.pth', FileNotFoundError, 'could not be downloaded'),
        ('chunks.pth', FileNotFoundError, 'could not be downloaded'),
        ('to_file.pth', FileNotFoundError, 'Redirection to url .file:'),
        ('to_self.pth', FileNotFoundError, 'redirect'),
        ('r50-0123abcd.pth', ValueError, 'SHA-256 sum is .*, its name says 0123abcd'),
        ('', ValueError, 'names no file'),
        ('..', ValueError, 'names no file'),
        ('folder/', ValueError, 'names no file'),
    ],
)
def test_a_download_is_whole_or_leaves_nothing(tmp_path, stranger, name, error, said):
    with pytest.raises(error, match=said) as refused:
        load_checkpoint(f'{stranger}/{name}')
    assert stranger in str(refused.value)
    assert not [path for path in (tmp_path / 'hub').rglob('*') if path.is_file()]


@pytest.mark.parametrize(
    'name', ['../../up.pth', '%2e%2e/%2e%2e%2fup.pth', 'a/../up.pth?x=../../y']
)
def test_a_name_does_not_climb_out_of_the_hub_folder(tmp_path, stranger, name):
    assert load_checkpoint(f'{stranger}/{name}') == {'epoch': 1}
    (found,) = [path for path in tmp_path.rglob('*up.pth*') if path.is_file()]
    assert found.parent == tmp_path / 'hub/checkpoints'


def test_an_odd_length_is_no_length(stranger):
    assert load_checkpoint(f'{stranger}/odd_length.pth') == {'epoch': 1}


def test_a_damaged_download_says_how_to_get_it_again(stranger, monkeypatch):
    monkeypatch.setattr(Stranger, 'content', b'<html>Please log in')
    with pytest.raises(ValueError, match=r'login\.pth is not .*; delete it to have it downloaded'):
        load_checkpoint(f'{stranger}/login.pth')


@pytest.mark.parametrize('address', ['file:///etc/hostname', 'ftp://127.0.0.1/x.pth', 's3:/x.pth'])
def test_other_addresses_are_paths_that_do_not_exist(address):
    with pytest.raises(FileNotFoundError, match='does not exist'):
        load_checkpoint(address)


@pytest.mark.parametrize('host', ['127.0.0.1:port', 'a' * 70, 'a b', '', '[::1'])
def test_an_address_without_a_host_is_named(tmp_path, monkeypatch, host):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    with pytest.raises((ValueError, FileNotFoundError), match=r'x\.pth'):
        load_checkpoint(f'http://{host}/x.pth')


def test_torchs_own_downloader_takes_a_file_that_is_cut_off_for_a_whole_one(tmp_path, stranger):
    """Why ours stands beside it."""
    torch.hub.download_url_to_file(f'{stranger}/cut.pth', str(tmp_path / 'cut.pth'), progress=False)
    assert (tmp_path / 'cut.pth').stat().st_size < 10**6
