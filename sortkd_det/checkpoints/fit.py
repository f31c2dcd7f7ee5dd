"""The weights in a checkpoint: found wherever programs put them, and fitted to a model's names."""

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from .refused import CheckpointRefused

# Where programs put weights. Plain weights come first: averages of a file that has both are left.
_PLACES = (
    'state_dict',
    'model',
    'model_state_dict',
    'net',
    'module',
    'params',
    'weights',
    'ema',
    'model_ema',
    'ema_model',
    'ema_state_dict',
    'state_dict_ema',
    'params_ema',
)
_OF_DDP = 'module.'  # what it puts before all names
_COUNTERS = ('steps', 'n_averaged')  # of updates, which averaged models hold beside their weights
_MAX_LEVELS = 8  # of a prefix: `module._orig_mod.student.` has three
_NAMED = 6  # how many keys an error names


class Fit(NamedTuple):
    """The weights of a checkpoint beside the names of a model.

    Attributes:
        weights: without the prefix, counters of averages and copies that averaging made.
        prefix: what all names begin with, taken off; '' for nothing.
        all_fit: each weight has its place in the model, so that the prefix is no guess.
    """

    weights: dict[str, Tensor]
    prefix: str
    all_fit: bool


def find_weights(checkpoint: Mapping, filename: str) -> tuple[str, Mapping[str, Tensor]]:
    """The weights in a checkpoint, under the names that they have there, and their place.

    Args:
        checkpoint: a dict of weights, or one that holds it under one of the usual keys:
            ``state_dict``, ``model``, ``net``, ``ema`` …; within that, once more.
        filename: what errors call it.

    Returns:
        The place, ``'ema.module'``, or '' for the checkpoint itself; the weights.

    Raises:
        CheckpointRefused: there are no weights in it.
    """
    found = places_of_weights(checkpoint)
    if not found:
        raise CheckpointRefused(
            filename,
            'holds no weights: expected a dict of tensors, or one under the key "state_dict", '
            f'"model" or "net"; its keys are {sorted(map(str, checkpoint))[:8]}',
        )
    return next(iter(found.items()))


def places_of_weights(checkpoint: Mapping) -> dict[str, Mapping[str, Tensor]]:
    """All dicts of weights in a checkpoint by their place; first, the one to take."""
    if _are_weights(checkpoint):
        return {'': checkpoint}
    outer = {place: checkpoint.get(place) for place in _PLACES}
    inner = {
        f'{place}.{key}': value.get(key)
        for place, value in outer.items()
        if isinstance(value, Mapping)
        for key in _PLACES
    }
    return {place: value for place, value in {**outer, **inner}.items() if _are_weights(value)}


def _are_weights(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) for key in value)
        and all(isinstance(item, Tensor) for item in value.values())
    )


def with_state_dict(checkpoint: Mapping, filename: str) -> Mapping:
    """The checkpoint with its weights under ``state_dict``, where MMEngine looks for them.

    One that has them there, is nothing but weights, or has none, is returned as it is.
    """
    found = places_of_weights(checkpoint)
    place = next(iter(found), '')
    if place in ('', 'state_dict'):
        return checkpoint
    _say_place(checkpoint, filename)
    places = {place.split('.')[0] for place in found}
    rest = {key: value for key, value in checkpoint.items() if key not in places}
    return {**rest, 'state_dict': dict(found[place])}


def _say_place(checkpoint: Mapping, filename: str) -> None:
    """Log which weights are taken, unless they are the only ones, in the usual place.

    MMEngine's ``state_dict`` holds the averages, and its ``ema_state_dict`` the plain weights.
    """
    place, *others = places_of_weights(checkpoint)
    if place == 'state_dict':
        others = [other for other in others if other != 'ema_state_dict']
    if others or place not in ('', 'state_dict'):
        left = f'; it has others under {", ".join(others)}' if others else ''
        _say(f'{filename}: the weights under its key {place!r} are taken{left}')


def fit_names(weights: Mapping[str, Tensor], wanted: Collection[str]) -> Fit:
    """Take off the one prefix without which every weight has the name of one of the model.

    Args:
        weights: by name.
        wanted: the names that the model has.
    """
    names = [name for name in weights if name in wanted or name not in _COUNTERS]
    counts = {
        prefix: sum(1 for name in names if _fits(name.removeprefix(prefix), wanted))
        for prefix in _common_prefixes(names)
    }
    copies = {prefix: _copies_of_averages(names, prefix, wanted) for prefix in counts}
    prefix = max(counts, key=lambda prefix: counts[prefix] + len(copies[prefix]))
    fitting = OrderedDict(
        (name.removeprefix(prefix), weights[name]) for name in names if name not in copies[prefix]
    )
    if (versions := getattr(weights, '_metadata', None)) is not None:
        fitting._metadata = OrderedDict(
            (f'{module}.'.removeprefix(prefix).removesuffix('.'), version)
            for module, version in versions.items()
        )
    return Fit(fitting, prefix, counts[prefix] + len(copies[prefix]) == len(names))


def _fits(name: str, wanted: Collection[str]) -> bool:
    # Older versions of MMEngine saved mean and deviation of the images.
    return name in wanted or name.startswith('data_preprocessor.')


def _are_second_names(
    names: Sequence[str], weights: Mapping[str, Tensor], wanted: Collection[str]
) -> bool:
    """Whether all these weights are there under names of the model too, in another of its modules.

    While it trains, MMDetection gives such names to parts of DDQ's head.
    """
    ends = [name.split('.', 1)[-1] for name in names]
    return all(
        '.' in end
        and any(
            other in wanted
            and other.endswith(f'.{end}')
            and torch.equal(weights[other], weights[name])
            for other in weights
        )
        for name, end in zip(names, ends, strict=True)
    )


def _common_prefixes(names: Sequence[str]) -> list[str]:
    """What all names begin with, module by module; first of all, nothing."""
    levels = zip(*(name.split('.', _MAX_LEVELS)[:-1] for name in names), strict=False)
    modules = [level[0] for level in takewhile(lambda level: len(set(level)) == 1, levels)]
    return [''.join(f'{module}.' for module in modules[:n]) for n in range(len(modules) + 1)]


def _copies_of_averages(names: Iterable[str], prefix: str, wanted: Collection[str]) -> set[str]:
    """The names under which MMDetection 2.x keeps a second set of weights for its averages."""
    copies = {f'{prefix}ema_{name.removeprefix(prefix).replace(".", "_")}' for name in names}
    return {name for name in names if name in copies and name.removeprefix(prefix) not in wanted}


def _take_weights(wanted: Collection[str], checkpoint: Mapping, filename: str) -> Fit:
    """Find the weights of a checkpoint and fit their names to a model's; the log says how."""
    place, found = find_weights(checkpoint, filename)
    _say_place(checkpoint, filename)
    # Versions of modules count where MMEngine reads them; batch norm without one makes up for
    # counts that published files leave out.
    fit = fit_names(found if place == 'state_dict' else dict(found), wanted)
    if fit.all_fit and fit.prefix:
        _say(f'{filename}: the prefix {fit.prefix!r} is taken off all {len(found)} names')
    return fit


def _say(message: str) -> None:
    print_log(message, logger='current', level=logging.INFO)


class Comparison(NamedTuple):
    """What became of the weights of a checkpoint in a model.

    Attributes:
        weights: by the model's names.
        prefix: what was taken off all names, or ''.
        missing: entries of the model that the checkpoint does not have.
        unexpected: weights that have no place in the model.
        differing: weights of another shape, with both shapes in words, by name.
    """

    weights: dict[str, Tensor]
    prefix: str
    missing: list[str]
    unexpected: list[str]
    differing: dict[str, str]


def load_what_fits(model: nn.Module, checkpoint: Mapping, filename: str) -> Comparison:
    """Load those weights of a checkpoint into ``model`` that have their place there.

    Args:
        model: the network.
        checkpoint: as :func:`find_weights` takes.
        filename: what the log and errors call it.

    Raises:
        CheckpointRefused: there are no weights in it.
    """
    wanted = model.state_dict()
    fit = _take_weights(wanted, checkpoint, filename)
    weights = fit.weights
    differing = {
        key: f'{key} {tuple(weights[key].shape)}, the model has {tuple(wanted[key].shape)}'
        for key in weights
        if key in wanted and weights[key].shape != wanted[key].shape
    }
    state = weights.copy()
    state._metadata = getattr(weights, '_metadata', None)
    for key in differing:
        del state[key]
    missing, unexpected = model.load_state_dict(state, strict=False)
    unexpected = [key for key in unexpected if not _fits(key, wanted)]
    return Comparison(
        weights,
        fit.prefix,
        [key for key in missing if key not in differing],
        [] if _are_second_names(unexpected, weights, wanted) else unexpected,
        differing,
    )


def fit_weights(model: nn.Module, checkpoint: Mapping, filename: str) -> dict[str, Tensor]:
    """Load all weights of a checkpoint that was read into ``model``, or raise.

    A prefix that all names share is taken off where every weight then has its place.

    Args:
        model: the network.
        checkpoint: as :func:`find_weights` takes.
        filename: what the log and errors call it.

    Returns:
        The weights under the model's names.

    Raises:
        CheckpointRefused: weights that do not fit; missing, unexpected and differing keys
            are counted and the first few named.
    """
    found = load_what_fits(model, checkpoint, filename)
    problems = [
        f'{len(keys)} {kind}: {"; ".join(keys[:_NAMED])}{" …" if len(keys) > _NAMED else ""}'
        for kind, keys in (
            ('missing', found.missing),
            ('unexpected', found.unexpected),
            ('of another shape', list(found.differing.values())),
        )
        if keys
    ]
    if problems:
        if found.prefix:
            problems.append(
                f'compared without the prefix {found.prefix!r} that all names there have'
            )
        raise CheckpointRefused(
            filename,
            f'holds weights that do not fit this {type(model).__name__} '
            f'({len(model.state_dict())} entries): {" | ".join(problems)}',
            advice='name the checkpoint of that same architecture and number of classes',
        )
    return found.weights


def starting_weights(model: nn.Module, checkpoint: Mapping, filename: str) -> Mapping[str, Tensor]:
    """The weights of a checkpoint for a run that begins with those that fit ``model``.

    The prefix of DDP is always taken off, another one where every weight then has its place.

    Args:
        model: the network.
        checkpoint: as :func:`find_weights` takes.
        filename: what the log and errors call it.

    Returns:
        The weights under the model's names; some may have no place there.

    Raises:
        CheckpointRefused: none of them has name and shape of one of the model's.
    """
    wanted = model.state_dict()
    fit = _take_weights(wanted, checkpoint, filename)
    taken_off = fit.all_fit or fit.prefix == _OF_DDP
    weights = fit.weights if taken_off else find_weights(checkpoint, filename)[1]
    if not any(k in wanted and wanted[k].shape == v.shape for k, v in weights.items()):
        better = f'; without {fit.prefix!r}, with which all names begin, some would fit'
        raise CheckpointRefused(
            filename,
            f'is nothing to begin from (load_from): none of its {len(weights)} weights fits this '
            f'{type(model).__name__}; it has {", ".join(list(weights)[:3])} …, the model '
            f'{", ".join(list(wanted)[:3])} …' + ('' if taken_off or not fit.prefix else better),
        )
    return weights
