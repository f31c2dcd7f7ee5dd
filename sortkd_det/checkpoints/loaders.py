"""MMEngine's registry of checkpoint loaders, filled with ours.

Every checkpoint of a run goes through it: weights of backbones (``init_cfg``), ``load_from``,
``--resume``. Its own loaders of addresses would execute what they load.
"""

from collections.abc import Mapping
from typing import Any

from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

from .fit import find_weights, with_state_dict
from .read import load_checkpoint


@CheckpointLoader.register_scheme(prefixes=('', 'http://', 'https://'), force=True)
def load_from_path_or_address(filename: str, map_location: Any = None) -> dict:
    """MMEngine's loader of local files and http(s) addresses."""
    return with_state_dict(load_checkpoint(filename, map_location), filename)


@CheckpointLoader.register_scheme(prefixes=('open-mmlab://', 'openmmlab://'), force=True)
def load_from_openmmlab(filename: str, map_location: Any = None) -> dict:
    """MMEngine's loader of OpenMMLab's named backbones."""
    scheme, name = filename.split('://', 1)
    renamed = mmengine_checkpoint.get_deprecated_model_names()
    known = mmengine_checkpoint.get_external_models()
    return _load_named(f'{scheme}://{renamed.get(name, name)}', known, map_location)


@CheckpointLoader.register_scheme(prefixes=('modelzoo://', 'torchvision://'), force=True)
def load_from_torchvision(filename: str, map_location: Any = None) -> dict:
    """MMEngine's loader of torchvision's named backbones; it needs torchvision for the names."""
    return _load_named(filename, mmengine_checkpoint.get_torchvision_models(), map_location)


@CheckpointLoader.register_scheme(prefixes='mmcls://', force=True)
def load_from_mmcls(filename: str, map_location: Any = None) -> dict:
    """MMEngine's loader of MMClassification's named backbones: theirs alone, without the head."""
    checkpoint = _load_named(filename, mmengine_checkpoint.get_mmcls_models(), map_location)
    _, weights = find_weights(checkpoint, filename)
    prefix = 'backbone.'
    return {
        'state_dict': {
            key.removeprefix(prefix): value
            for key, value in weights.items()
            if key.startswith(prefix)
        }
    }


def _load_named(filename: str, addresses: Mapping[str, str], map_location: Any) -> dict:
    name = filename.split('://', 1)[1]
    if name not in addresses:
        raise ValueError(f'unknown backbone {filename}; known are: {", ".join(sorted(addresses))}')
    return load_checkpoint(addresses[name], map_location)
