"""The teacher, a guest of the run: built, checked, frozen, and fed in its own terms."""

import contextlib
import copy
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import print_log
from mmengine.model import ImgDataPreprocessor
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sortkd_det.checkpoints import classes_of_checkpoint, fit_weights, load_checkpoint
from sortkd_det.functional import check_choice

from .class_map import ClassMap
from .config import read_config
from .fold_norms import fold_norms
from .mmdet2_config import is_mmdet2, upgrade_model

_DTYPES = ('float32', 'bfloat16', 'float16')
_EXAMPLE = (
    "data_preprocessor=dict(type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], "
    'std=[58.395, 57.12, 57.375], bgr_to_rgb=True, pad_size_divisor=32)'
)


class Teacher:
    """A frozen model in eval mode, and the conversion of the student's inputs for it.

    It is no ``nn.Module``, so that it can become part of no model by accident.

    Args:
        config: a config file, ``'mmdet::…'`` for one of MMDetection's own, or a
            Config or dict with a ``model``.
        checkpoint: path or http(s) address of the weights; None: those that the
            model zoo gives for a ``'mmdet::…'`` config.
        cfg_options: entries of the config to change, as on the command line:
            ``{'model.roi_head.bbox_head.num_classes': 3}``.
        dtype: ``'float32'``, ``'bfloat16'`` or ``'float16'``, the precision of its
            own autocast; None: that of the run, float32 or what ``--amp`` makes of it.
        compile: run the part that sees images through ``torch.compile``.
        channels_last: keep weights and images in channels-last order.
        fuse_conv_bn: fold batch norms into the convolutions before them, in a detector's
            backbone and neck, for fewer launches; logits move by rounding.

    Attributes:
        model: the network; ``eval()``, ``requires_grad`` off.
        classes: the class names it was trained on, or None if its checkpoint
            does not tell.
        class_map: where the student's classes are among them; the same until the run tells.

    Raises:
        TypeError: ``compile``, ``channels_last`` or ``fuse_conv_bn`` is neither True nor False.
        ValueError: no checkpoint named, a config without a model, another dtype, weights that do
            not fit (missing, unexpected and differing keys are counted and the first few
            named), or batch norms that cannot be folded.
        FileNotFoundError: the config or the checkpoint does not exist.
    """

    def __init__(
        self,
        config: str | Mapping,
        checkpoint: str | None = None,
        cfg_options: Mapping | None = None,
        dtype: str | None = None,
        compile: bool = False,
        channels_last: bool = False,
        fuse_conv_bn: bool = False,
    ) -> None:
        self.dtype = dtype if dtype is None else check_choice('teacher.dtype', dtype, _DTYPES)
        self.compile = _check_switch('teacher.compile', compile)
        self.channels_last = _check_switch('teacher.channels_last', channels_last)
        fuse_conv_bn = _check_switch('teacher.fuse_conv_bn', fuse_conv_bn)
        self.config = read_teacher_config(config, cfg_options)
        checkpoint = checkpoint or self.config.get('model_path')
        if not checkpoint:
            raise ValueError(
                'no teacher named: give its weights by --teacher-checkpoint PATH, or in the config '
                "by teacher=dict(config=…, checkpoint='PATH')"
            )
        self.checkpoint = str(checkpoint)
        self.model = _build_model(self.config, config if isinstance(config, str) else 'its config')
        self.classes = load_weights(self.model, self.checkpoint)
        self.class_map = ClassMap()
        self.model.eval().requires_grad_(False)
        if fuse_conv_bn:
            _fold_norms_of_detector(self.model)
        self._compared: nn.Module | None = None  # the preprocessor whose statistics were looked at
        self._same = False
        self._stream: torch.cuda.Stream | None = None
        self._compiled: dict[str, Callable] = {}

    def to(self, device: torch.device) -> 'Teacher':
        """Move the model to ``device``."""
        order = torch.channels_last if self.channels_last else torch.preserve_format
        self.model.to(device, memory_format=order)
        return self

    def precision(self, device: torch.device) -> contextlib.AbstractContextManager:
        """The autocast that the teacher runs in."""
        if self.dtype is None:
            return contextlib.nullcontext()
        if self.dtype == 'float32':
            return torch.autocast(device.type, enabled=False)
        return torch.autocast(device.type, getattr(torch, self.dtype))

    def start(self, method: str, images: Tensor, **arguments: Any) -> Any:
        """Begin to run a method of the model on images; :meth:`finish` gives what it returns.

        On CUDA it runs on a stream of its own, beside what the student does until
        then, much of which waits for the host.

        Args:
            method: its name: ``'extract_feat'``, ``'forward'``.
            images: (B, 3, H, W), as :meth:`convert_inputs` makes them.
            arguments: other arguments of the method.
        """
        if self.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        function = getattr(self.model, method)
        if self.compile:
            if method not in self._compiled:
                self._compiled[method] = torch.compile(function)
            function = self._compiled[method]
        with self.apart(images.device):
            if self._stream is not None:
                images.record_stream(self._stream)
            return function(images, **arguments)

    @contextlib.contextmanager
    def apart(self, device: torch.device) -> Iterator[None]:
        """Within, what is run of the model has no graph and its own precision and stream, as
        :meth:`start` has it: for what goes on from there. :meth:`finish` gives that, too.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(self.precision(device))
            if device.type == 'cuda':
                self._stream = self._stream or torch.cuda.Stream(device)
                self._stream.wait_stream(torch.cuda.current_stream(device))
                stack.enter_context(torch.cuda.stream(self._stream))
            yield

    def finish(self, result: Any) -> Any:
        """What :meth:`start` returned, tensors or nested sequences of them, ready for use."""
        if self._stream is not None:
            current = torch.cuda.current_stream(self._stream.device)
            current.wait_stream(self._stream)
            for tensor in tree_leaves(result):
                tensor.record_stream(current)
        return result

    def checksum(self) -> str:
        """Of all weights and buffers; the same string as long as not one bit of them changes."""
        digest = hashlib.sha256()
        for name, value in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()

    def check_preprocessors(self, student: nn.Module) -> None:
        """Raise unless both models tell how their images are normalised and padded.

        Args:
            student: the model whose inputs :meth:`convert_inputs` will be given.

        Raises:
            ValueError: one of them does not.
        """
        for who, model in (('teacher', self.model), ('student', student)):
            if not isinstance(model.data_preprocessor, ImgDataPreprocessor):
                raise ValueError(
                    f'the config of the {who} does not tell how its images are normalised: its '
                    f'model has a {type(model.data_preprocessor).__name__}. Add to its model, with '
                    f'the numbers that it was trained with: {_EXAMPLE}'
                )

    def convert_inputs(
        self, inputs: Tensor, student: nn.Module, data_samples: Sequence | None = None
    ) -> Tensor:
        """The student's preprocessed images, as the teacher's own preprocessing makes them.

        Args:
            inputs: (B, 3, H, W), normalised (and padded) for the student.
            student: the model whose ``data_preprocessor`` did that.
            data_samples: B samples; ``img_shape`` (height, width) bounds each
                image within its padding. None: images without padding.

        Returns:
            (B, 3, H', W'), padded to a multiple of the teacher's divisor;
            ``inputs`` itself where both preprocess alike.
        """
        own, other = self.model.data_preprocessor, student.data_preprocessor
        converted = inputs
        if not self._normalises_like(other):
            converted = _renormalise(inputs, other, own)
        if data_samples is None:
            return converted
        divisor = own.pad_size_divisor
        padding = (0, -inputs.shape[-1] % divisor, 0, -inputs.shape[-2] % divisor)
        if converted is inputs:
            if not any(padding) and own.pad_value == other.pad_value:
                return inputs
            converted = inputs.clone()
        converted = F.pad(converted, padding, value=own.pad_value)
        for image, sample in zip(converted, data_samples, strict=True):
            height, width = sample.img_shape[:2]
            image[:, height:] = own.pad_value
            image[:, :, width:] = own.pad_value
        return converted

    def _normalises_like(self, other: nn.Module) -> bool:
        """Whether the student's preprocessor has the statistics and channels of the teacher's;
        also where one of them does not tell.
        """
        if self._compared is not other:  # once: the host waits for the device
            own = self.model.data_preprocessor
            statistics = [_statistics(each) for each in (own, other)]
            self._same = None in statistics or (
                _flips(own) == _flips(other)
                and all(map(torch.equal, *([x.cpu() for x in each] for each in statistics)))
            )
            self._compared = other
        return self._same


def read_teacher_config(config: str | Mapping, cfg_options: Mapping | None = None) -> Config:
    """The teacher's config; arguments and errors are those of :class:`Teacher`."""
    if isinstance(config, str):
        config = _zoo_config(config) if '::' in config else read_config(config)
    elif isinstance(config, Mapping) and not isinstance(config, Config):
        config = Config(dict(config))
    config = copy.deepcopy(config)
    if is_mmdet2(config):
        print_log(upgrade_model(config), logger='current', level=logging.INFO)
    try:
        config.merge_from_dict(dict(cfg_options or {}))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f'teacher.cfg_options finds no place in its config: {error}') from error
    if not isinstance(config.get('model'), Mapping):
        raise ValueError('the config of the teacher has no model')
    return config


def _zoo_config(name: str) -> Config:
    """A config of an OpenMMLab package; ``model_path`` is the zoo's checkpoint, if there is one."""
    try:
        return get_config(name, pretrained=True)
    except AssertionError:  # the zoo has no weights for it
        return get_config(name)


def _build_model(config: Config, name: str) -> nn.Module:
    # Its random initial weights, overwritten a moment later, must not move the
    # run's random numbers: the student sees what it would see alone.
    scope = config.get('default_scope')
    try:
        with DefaultScope.overwrite_default_scope(scope), torch.random.fork_rng(devices=[]):
            return MODELS.build(config.model)
    except Exception as error:  # a config is a program
        reason = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise ValueError(f'the teacher cannot be built from {name}: {reason}') from error


def load_weights(model: nn.Module, filename: str) -> Sequence[str] | None:
    """Load all weights of a checkpoint into ``model``, or raise.

    Args:
        model: the network.
        filename: path or http(s) address, as :func:`load_checkpoint` takes.

    Returns:
        The class names that the checkpoint tells, or None.

    Raises:
        ValueError: weights that do not fit; missing, unexpected and differing keys
            are counted and the first few named.
        FileNotFoundError, CheckpointRefused: as :func:`load_checkpoint`.
    """
    checkpoint = load_checkpoint(filename)
    fit_weights(model, checkpoint, filename)
    return classes_of_checkpoint(checkpoint)


def _fold_norms_of_detector(model: nn.Module) -> None:
    if not hasattr(model, 'extract_feat'):
        raise ValueError(
            "teacher.fuse_conv_bn folds norms of a detector's backbone and neck, and "
            f'{type(model).__name__} has no extract_feat; for a classifier there is '
            'teacher.compile=True'
        )
    noise = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    number = fold_norms(model, lambda: model.extract_feat(noise))
    print_log(
        f'teacher.fuse_conv_bn: {number} batch norms were folded into convolutions',
        logger='current',
        level=logging.INFO,
    )


def _check_switch(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f'{name} must be True or False, got {value!r}')
    return value


def _renormalise(inputs: Tensor, by: nn.Module, wanted: nn.Module) -> Tensor:
    """Images that the preprocessor ``by`` has normalised, as ``wanted`` would have."""
    (mean, std), (wanted_mean, wanted_std) = (
        [statistic.to(inputs.device) for statistic in _statistics(each)] for each in (by, wanted)
    )
    pixels = inputs * std + mean
    if _flips(by) != _flips(wanted):
        pixels = pixels.flip(1)
    return (pixels - wanted_mean) / wanted_std


def _statistics(preprocessor: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Mean and standard deviation per channel, (3, 1, 1), as normalisation applies them.

    None where the preprocessor does not tell what it does to images.
    """
    if getattr(preprocessor, '_enable_normalize', hasattr(preprocessor, 'mean')):
        return preprocessor.mean.view(-1, 1, 1), preprocessor.std.view(-1, 1, 1)
    if isinstance(preprocessor, ImgDataPreprocessor):
        return torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    return None


def _flips(preprocessor: nn.Module) -> bool:
    """Whether the preprocessor turns RGB into BGR or back."""
    return getattr(preprocessor, '_channel_conversion', False)
