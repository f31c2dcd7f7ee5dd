"""What all classifiers share: the three modes of their forward, the loss, registration."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from sortkd_det.functional import check_choice, check_labels, check_whole
from sortkd_det.registry import MODELS

# The default number of classes of a registered network, by the first part of its name.
_NUM_CLASSES = {'cifar': 100, 'tiny_imagenet': 200, 'imagenet': 1000}
_TORCH_ON_ONE_VALUE = 'Expected more than 1 value per channel'


class ClassificationLoss(nn.Module):
    """Cross-entropy, mean over rows; a module, so that hooks see logits and labels pass by."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of a batch, computed in float32 at least, under autocast too.

        Args:
            logits: (N, C).
            labels: (N,) int64, each in [0, C); looked at on the CPU only.

        Returns:
            Scalar tensor.

        Raises:
            TypeError, ValueError: labels of another dtype or shape, or out of range.
        """
        check_labels(logits, labels)
        return F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), labels)


class Classifier(BaseModel):
    """A network from images to one logit a class, as a model that MMEngine's runner trains.

    Its state dict is the network's own, without a prefix. A subclass makes its
    layers under the names of the published checkpoints in :meth:`build` and writes
    :meth:`logits`.

    Args:
        num_classes: C ≥ 2.
        data_preprocessor: module or config; None: MMEngine's, which moves data to
            the device and does nothing else.
        init_cfg: as in MMEngine, for weights from a file; None: the network's own
            initialisation.
        **architecture: what :meth:`build` takes.

    Attributes:
        num_classes: C.
        loss_cls: the :class:`ClassificationLoss`.
        smallest_side: least height and width of an image that the network can take.

    Raises:
        TypeError, ValueError: ``num_classes`` no whole number ≥ 2.
    """

    smallest_side = 1

    def __init__(
        self,
        num_classes: int,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
        **architecture: Any,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.num_classes = check_whole('num_classes', num_classes, minimum=2)
        self.loss_cls = ClassificationLoss()
        self.build(**architecture)

    def build(self) -> None:
        """Make the layers, and draw their weights; a subclass's may take an architecture."""

    def logits(self, images: Tensor) -> Tensor:
        """The network itself: (N, 3, H, W), floating, to (N, C)."""
        raise NotImplementedError

    def forward(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: Mapping[str, Any] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor] | list[dict[str, Any]]:
        """Return logits, losses or predictions of a batch.

        Args:
            inputs: (N, 3, H, W), floating, normalised; for ``'loss'`` also a list of
                views of the same N images.
            data_samples: ``labels`` (N,) int64, needed for ``'loss'``; other entries
                pass through.
            mode: ``'tensor'``, ``'loss'`` or ``'predict'``.

        Returns:
            ``'tensor'``: (N, C) logits. ``'loss'``: ``{'loss_cls': …}``, summed over
            the views. ``'predict'``: a list of one dict, as MMEngine's evaluator expects
            a list: the entries of ``data_samples`` and ``logits`` (N, C).

        Raises:
            TypeError, ValueError: an unknown mode; images of another shape, or too
                small; labels that are missing, out of range or no (N,) int64; a batch
                too small for batch normalisation in training.
        """
        check_choice('mode', mode, ('tensor', 'loss', 'predict'))
        if mode == 'loss':
            if data_samples is None or 'labels' not in data_samples:
                raise ValueError("mode='loss' needs data_samples with the key 'labels'")
            views = [inputs] if isinstance(inputs, Tensor) else inputs
            labels = data_samples['labels']
            losses = [self.loss_cls(self._checked_logits(view), labels) for view in views]
            return {'loss_cls': sum(losses)}
        logits = self._checked_logits(inputs)
        return logits if mode == 'tensor' else [{**(data_samples or {}), 'logits': logits}]

    def _run_forward(self, data: Any, mode: str) -> Any:
        """What MMEngine's steps call, with what the data preprocessor gave."""
        if isinstance(data, dict) and not {'inputs'} <= set(data) <= {'inputs', 'data_samples'}:
            raise TypeError(
                f'a batch for {type(self).__name__} must be a dict of inputs and data_samples, got '
                f'{sorted(data)}; for the data sets of this package set model.data_preprocessor to '
                'dict(type="sortkd_det.ImagePreprocessor", mean=…, std=…)'
            )
        return super()._run_forward(data, mode)

    def _checked_logits(self, images: Tensor) -> Tensor:
        """:meth:`logits`, and errors that tell what is wrong with the images."""
        if not isinstance(images, Tensor) or not images.is_floating_point():
            given = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(f'images must be a floating Tensor, got {given}')
        if images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(f'images must have shape (N, 3, H, W), got {tuple(images.shape)}')
        if min(images.shape[2:]) < self.smallest_side:
            raise ValueError(
                f'{type(self).__name__} takes images of at least {self.smallest_side} × '
                f'{self.smallest_side} pixels, got {images.shape[2]} × {images.shape[3]}'
            )
        try:
            return self.logits(images)
        except ValueError as error:
            if _TORCH_ON_ONE_VALUE not in str(error):
                raise
            raise ValueError(
                f'batch normalisation cannot train on a batch of {len(images)} at '
                f'{images.shape[2]} × {images.shape[3]} pixels, where {type(self).__name__} '
                'ends in one value per channel; expected a batch size of at least 2. If only the '
                'last batch is that small, set drop_last=True in the data loader'
            ) from error


def register(name: str, network: type[Classifier], **architecture: Any) -> None:
    """Register ``network`` with one architecture.

    Args:
        name: ``'<data set>/<network>'``; the data set (``cifar``, ``tiny_imagenet`` or
            ``imagenet``) gives the default number of classes: 100, 200, 1000.
        network: a subclass of :class:`Classifier`.
        **architecture: its further arguments.
    """
    default = _NUM_CLASSES[name.split('/')[0]]

    class Variant(network):
        def __init__(
            self,
            num_classes: int = default,
            data_preprocessor: dict | nn.Module | None = None,
            init_cfg: dict | None = None,
        ) -> None:
            super().__init__(num_classes, data_preprocessor, init_cfg, **architecture)

    settings = ', '.join(f'{key}={value!r}' for key, value in architecture.items())
    Variant.__doc__ = f'{network.__name__}({settings}).'
    Variant.__name__ = Variant.__qualname__ = name
    Variant.__init__.__qualname__ = name  # what an error about its arguments calls it
    MODELS.register_module(name=name, module=Variant)


def global_average(features: Tensor) -> Tensor:
    """Mean over all positions: (N, C, H, W) to (N, C), for any H and W."""
    return features.mean((2, 3))


def initialize_convolutions(network: nn.Module) -> None:
    """Draw the convolutions' weights as He et al. (arXiv 1502.01852), by fan-out; no biases.

    That is a normal distribution of variance 2 / (kernel area · output channels).
    Batch normalisation starts as the identity: PyTorch's default.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialize_linear(layer: nn.Linear) -> None:
    """Draw a classifier's weights from a normal distribution of deviation 0.01; no biases."""
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
