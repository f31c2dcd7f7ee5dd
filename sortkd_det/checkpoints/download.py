"""Checkpoints behind an http(s) address: downloaded once, whole or not at all."""

import hashlib
import http.client
import os
import re
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
from mmengine.dist import barrier, is_main_process

from sortkd_det.files import written_whole

from .refused import CheckpointRefused

_MAX_BYTES = 2**34
_TIMEOUT = 30  # seconds without a byte


def is_address(filename: str) -> bool:
    """Whether this is an http(s) address, and no path."""
    return filename.startswith(('http://', 'https://'))


def local_path(filename: str) -> str:
    """Path of a checkpoint on this machine; what is behind an address is downloaded.

    Raises:
        FileNotFoundError: there is no such file, or it could not be downloaded.
        CheckpointRefused: as :func:`download`.
    """
    path = download(filename) if is_address(filename) else os.path.expanduser(filename)
    if not os.path.isfile(path):
        if os.path.isdir(path):
            raise FileNotFoundError(f'checkpoint {filename} is a folder, expected a file in it')
        raise FileNotFoundError(f'checkpoint {filename} does not exist')
    return path


def download(address: str) -> str:
    """Path of the file at an address in torch's hub folder, downloaded unless it is there.

    The main process downloads it; those of other machines, whose disks are their own, afterwards.

    Raises:
        FileNotFoundError: it could not be downloaded; the message says where to place it.
        CheckpointRefused: the address names no file, or another one came than its name says.
    """
    try:
        name = os.path.basename(urlparse(address).path)
    except ValueError as error:
        raise CheckpointRefused(address, f'is no address: {error}') from error
    if name in ('', '.', '..'):
        raise CheckpointRefused(address, 'is an address that names no file')
    path = Path(torch.hub.get_dir(), 'checkpoints', name)
    if is_main_process():
        _download_to(path, address)
    barrier()
    _download_to(path, address)
    return str(path)


def _download_to(path: Path, address: str) -> None:
    if path.exists():
        return
    digest = re.search(r'-([a-f0-9]{8,})\.', path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path, unique=True) as partial:
            found = _fetch(address, partial)
            if digest and not found.startswith(digest.group(1)):
                raise CheckpointRefused(
                    address,
                    f'is damaged, or another file: its SHA-256 sum is {found}, its name says '
                    f'{digest.group(1)}',
                )
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise FileNotFoundError(
            f'checkpoint {address} could not be downloaded ({str(error) or repr(error)}); download '
            f'it where there is a network and place it at {path}, or name a local file'
        ) from error


def _fetch(address: str, path: Path) -> str:
    """Download to ``path`` and return the SHA-256 sum.

    ``torch.hub.download_url_to_file`` takes a file that is cut off for a whole one, waits for
    ever, and writes until the disk is full.
    """
    digest = hashlib.sha256()
    request = Request(address, headers={'User-Agent': 'sortkd_det'})
    with urlopen(request, timeout=_TIMEOUT) as answer, path.open('xb') as file:
        length = answer.headers.get('Content-Length') or ''
        expected = int(length) if length.isdecimal() else None
        with torch.hub.tqdm(total=expected, unit='B', unit_scale=True) as bar:
            while content := answer.read(2**17):
                file.write(content)
                digest.update(content)
                bar.update(len(content))
                if file.tell() > _MAX_BYTES:
                    raise OSError(f'it has more than {_MAX_BYTES} bytes')
        if expected is not None and file.tell() != expected:
            raise OSError(f'{file.tell()} of {expected} bytes came')
    return digest.hexdigest()
