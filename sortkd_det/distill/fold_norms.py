"""Batch norms of a frozen network, folded into the convolutions before them."""

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils._pytree import tree_leaves

_MOVES = 1e-3  # of its largest number, what a result may move by; rounding takes 1e-6


def fold_norms(model: nn.Module, run: Callable[[], Any]) -> int:
    """Fold each batch norm whose input is what a convolution has just given into that.

    Which these are is seen by what passes, not by names or order. Convolutions and norms
    that run more than once, such as those that levels share, stay.

    Args:
        model: in eval mode; changed in place. The norms become ``nn.Identity``.
        run: calls what is to be faster of the model in float32, on images of any content;
            gives tensors or nested sequences of them.

    Returns:
        How many norms were folded.

    Raises:
        ValueError: what ``run`` gives has moved by more than a thousandth of its largest
            number: something else reads what a convolution gives. The model is of no use then.
    """
    with torch.no_grad():
        pairs, result = _find_pairs(model, run)
        for conv, norm in pairs.items():
            fused = fuse_conv_bn_eval(model.get_submodule(conv), model.get_submodule(norm))
            model.set_submodule(conv, fused.requires_grad_(False))
            model.set_submodule(norm, nn.Identity())
        for before, after in zip(tree_leaves(result), tree_leaves(run()), strict=True):
            moved, largest = float((after - before).abs().max()), float(before.abs().max())
            if not moved <= _MOVES * largest:
                raise ValueError(
                    f'batch norms of {type(model).__name__} cannot be folded: what it gives would '
                    f'move by {moved:.3g}, with numbers up to {largest:.3g}; take '
                    'teacher.fuse_conv_bn out'
                )
    return len(pairs)


def _find_pairs(model: nn.Module, run: Callable[[], Any]) -> tuple[dict[str, str], Any]:
    """Names of convolutions, and of the norms that take what these give; what ``run`` gave."""
    given: dict[int, tuple[weakref.ref, str]] = {}
    pairs: dict[str, str] = {}
    calls: Counter[str] = Counter()

    def after_conv(name: str, output: Tensor) -> None:
        calls[name] += 1
        given[id(output)] = weakref.ref(output), name

    def before_norm(name: str, value: Tensor) -> None:
        calls[name] += 1
        reference, conv = given.get(id(value), (lambda: None, ''))
        if reference() is value:
            pairs[conv] = name

    handles = []
    for name, module in model.named_modules():
        if type(module) is nn.Conv2d:  # others may do more with their weights
            hook = module.register_forward_hook(lambda _, __, out, n=name: after_conv(n, out))
            handles.append(hook)
        elif isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.training:
            hook = module.register_forward_pre_hook(lambda _, args, n=name: before_norm(n, args[0]))
            handles.append(hook)
    try:
        result = run()
    finally:
        for handle in handles:
            handle.remove()
    return {c: norm for c, norm in pairs.items() if calls[c] == calls[norm] == 1}, result
