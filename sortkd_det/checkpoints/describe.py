"""What is in a checkpoint, in words."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .fit import places_of_weights
from .safetensors_reader import is_safetensors
from .torch_file import is_zip

_NAMED = 5  # how many classes or keys are written out
_OF_A_RUN = ('meta', 'message_hub')  # without which nothing is resumed
_BEGUN_ANEW = ('optimizer', 'param_schedulers')  # what is resumed where it is there


def describe_checkpoint(path: str, checkpoint: Mapping) -> dict[str, str]:
    """Say what a checkpoint holds, row by row.

    Args:
        path: of the file.
        checkpoint: what :func:`load_checkpoint` read from it.
    """
    meta = checkpoint.get('meta') or {}
    rows = {'format': _format_of(path), 'keys': ', '.join(map(str, checkpoint))}
    places = places_of_weights(checkpoint)
    for place, weights in places.items():
        kinds = Counter(str(weight.dtype).removeprefix('torch.') for weight in weights.values())
        numbers = sum(weight.numel() for weight in weights.values())
        rows[f'weights, under {place!r}' if place else 'weights'] = (
            f'{len(weights)} tensors ({", ".join(f"{n} {kind}" for kind, n in kinds.items())}) of '
            f'{numbers:,} numbers'
        )
    if not places:
        rows['weights'] = 'none'
    for key in ('epoch', 'iter', 'seed', 'mmengine_version', 'time'):
        if meta.get(key) is not None:
            rows[f'meta.{key}'] = str(meta[key])
    if (classes := classes_of_checkpoint(checkpoint)) is not None:
        rows['classes'] = f'{len(classes)}: {_first(classes)}'
    rows['--resume'] = _resume(checkpoint)
    return rows


def classes_of_checkpoint(checkpoint: Mapping) -> Any:
    """The class names that a checkpoint tells, or None."""
    meta = checkpoint.get('meta') or {}
    dataset_meta = {key.lower(): value for key, value in (meta.get('dataset_meta') or meta).items()}
    return dataset_meta.get('classes')


def _format_of(path: str) -> str:
    if is_safetensors(path):
        return 'safetensors'
    return 'torch.save, a zip' if is_zip(path) else 'torch.save, as before torch 1.6'


def _resume(checkpoint: Mapping) -> str:
    absent = [key for key in _OF_A_RUN if not checkpoint.get(key)]
    if absent:
        return f'not possible, there is no {" and no ".join(absent)}; load_from takes the weights'
    anew = [key for key in _BEGUN_ANEW if key not in checkpoint]
    return 'possible' + (f'; {" and ".join(anew)} begin anew, they are not in it' if anew else '')


def _first(names: Any) -> str:
    return ', '.join(list(names)[:_NAMED]) + (' …' if len(names) > _NAMED else '')
