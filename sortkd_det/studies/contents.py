"""Digests of what decides a run and lies in files, whose names may come to mean another."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from sortkd_det.cli.distillation import find_distill_hook
from sortkd_det.distill import read_config
from sortkd_det.files import digest_of

# What a config calls weights, and how their files end.
_NAMES = ('checkpoint', 'load_from', 'pretrained', 'teacher_ckpt')
_ENDS = ('.pth', '.pth.tar', '.pt', '.pkl', '.ckpt', '.bin', '.safetensors')


def contents_of(cfg: Config, folder: Path, given: str | None = None) -> dict[str, str]:
    """Digests of a run's config, and of the files with weights and annotations that it names.

    Args:
        cfg: of the run.
        folder: that it is run in, where paths begin.
        given: the teacher's weights that a command line names, which are called ``'teacher'``.

    Returns:
        ``'config'``, ``'teacher'``, or the path of a file as it is named → SHA-256. A file that is
        not there, such as one of another machine or of the net, is left out.
    """
    config = cfg.to_dict()
    for hook in config.get('custom_hooks') or ():
        if isinstance(hook.get('teacher'), dict):
            hook['teacher'].pop('cache', None)  # results are the same without
    found = {'config': _digest(config)}
    names = {name: 'teacher' if name == given else name for name in (*_weights_in(config), given)}
    names |= {name: name for name in _annotations_in(config)}
    for name, title in names.items():
        if name and (folder / name).is_file():
            found[title] = digest_of(folder / name)
    teacher = (find_distill_hook(cfg) or {}).get('teacher')
    named = teacher.get('config') if isinstance(teacher, Mapping) else None
    if isinstance(named, str) and (folder / named).is_file():
        found[named] = _digest(read_config(str(folder / named)).to_dict())
    return found


def _digest(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(repr(config).encode()).hexdigest()


def _annotations_in(value: Any) -> Iterator[str]:
    """The annotation files of data sets and metrics, as they find them."""
    if isinstance(value, Mapping):
        if isinstance(value.get('ann_file'), str) and value['ann_file']:
            yield os.path.join(value.get('data_root') or '', value['ann_file'])
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _annotations_in(item)


def _weights_in(value: Any, key: Any = None) -> Iterator[str]:
    """What a config names as a file of weights, whether there is one or not."""
    if isinstance(value, str) and (key in _NAMES or value.endswith(_ENDS)):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _weights_in(item, name)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _weights_in(item)
