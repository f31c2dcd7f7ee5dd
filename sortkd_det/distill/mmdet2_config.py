"""Configs of MMDetection 2.x, read as MMDetection 3.x understands them."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config

_OF_2X = {'Collect', 'DefaultFormatBundle', 'MultiScaleFlipAug'}  # transforms that only 2.x has
_OF_IMAGES = {*_OF_2X, 'LoadImageFromFile', 'Normalize'}
# Where 2.x keeps the pipeline of images; the first that there is counts.
_PIPELINES = (
    ('data', 'test'),
    ('test_pipeline',),
    ('data', 'val'),
    ('data', 'train'),
    ('train_pipeline',),
)


def is_mmdet2(config: Config) -> bool:
    """Whether a config has a model, and is one of MMDetection 2.x."""
    model = config.get('model')
    if not isinstance(model, Mapping) or model.get('data_preprocessor'):
        return False
    kinds = {transform['type'] for transform in _transforms(config.to_dict())}
    return 'img_norm_cfg' in config or bool(kinds & _OF_2X)


def upgrade_model(config: Config) -> str:
    """Give the model of a 2.x config what 3.x expects there, in place.

    ``Normalize`` and ``Pad`` of the pipeline become ``data_preprocessor``; ``pretrained`` is
    taken out, as a checkpoint follows; ``train_cfg`` and ``test_cfg`` move into the model, where
    the oldest configs do not have them.

    Returns:
        What was done, for the log.

    Raises:
        ValueError: the pipeline normalises or pads in a way that cannot be read.
    """
    preprocessor = _preprocessor(config.to_dict())
    model = config.model
    model.data_preprocessor = preprocessor
    left_out = ', and its pretrained left out' if model.pop('pretrained', None) else ''
    for key in ('train_cfg', 'test_cfg'):
        if model.get(key) is None and key in config:
            model[key] = config[key]
    config.default_scope = 'mmdet'
    shown = ', '.join(f'{key}={value!r}' for key, value in preprocessor.items())
    return (
        'the config of the teacher is one of MMDetection 2.x; its normalisation is read as '
        f'model.data_preprocessor=dict({shown}){left_out}'
    )


def _preprocessor(config: dict) -> dict[str, Any]:
    """The ``data_preprocessor`` that does what the pipeline of images does at its end."""
    transforms = _pipeline(config)
    normalize = transforms.get('Normalize') if transforms else config.get('img_norm_cfg')
    made: dict[str, Any] = {'type': 'DetDataPreprocessor'}
    try:
        if normalize is not None:
            made['mean'] = [float(value) for value in normalize['mean']]
            made['std'] = [float(value) for value in normalize['std']]
            reads_rgb = transforms.get('LoadImageFromFile', {}).get('channel_order') == 'rgb'
            made['bgr_to_rgb'] = bool(normalize.get('to_rgb', True)) != reads_rgb
        pad = transforms.get('Pad', {})
        made['pad_size_divisor'] = int(pad.get('size_divisor') or (1 if transforms else 32))
        if value := _pad_value(pad):
            made['pad_value'] = value
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            'the config of the teacher is one of MMDetection 2.x whose Normalize and Pad cannot be '
            f'read ({type(error).__name__}: {error}); add to its model: data_preprocessor=dict('
            "type='DetDataPreprocessor', mean=[…], std=[…], bgr_to_rgb=…, pad_size_divisor=32), "
            'and take pretrained out'
        ) from error
    return made


def _pipeline(config: dict) -> dict[str, dict]:
    """The transforms of images by their type; empty where the config has none."""
    for keys in _PIPELINES:
        part: Any = config
        for key in keys:
            part = part.get(key) if isinstance(part, dict) else None
        transforms = {transform['type']: transform for transform in _transforms(part)}
        if transforms.keys() & _OF_IMAGES:
            return transforms
    return {}


def _pad_value(pad: dict) -> float:
    value = pad.get('pad_val', 0)
    value = value.get('img', 0) if isinstance(value, dict) else value
    values = set(value) if isinstance(value, list | tuple) else {value}
    if len(values) != 1:
        raise ValueError(f'pad_val is {value}, a number a channel')
    return values.pop()


def _transforms(value: Any) -> Iterator[dict]:
    """All dicts with a type, within lists and dicts, but those of models."""
    if isinstance(value, dict):
        if isinstance(value.get('type'), str):
            yield value
        for key, item in value.items():
            if key != 'model':
                yield from _transforms(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _transforms(item)
