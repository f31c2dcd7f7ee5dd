"""MMDetection's own configs made thin, and images of a few coloured boxes for them."""

import copy
import importlib.util
import tempfile
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData, PixelData

import sortkd_det.detection  # noqa: F401
from sortkd_det.adapters import Adapter
from sortkd_det.distill import LogitBatch, Teacher
from sortkd_det.studies.thin_models import make_thin

NUM_CLASSES = 3


@dataclass(frozen=True)
class Family:
    """A detector of MMDetection, made thin.

    Attributes:
        config: the name of its config, below ``mmdet::``.
        options: entries of its model that differ from what :func:`thin` makes of it.
        masks: whether it is trained on masks.
        epoch: in which epoch it is asked, counted from 0; TOOD changes its loss at 4.
        one_size: MMDetection's own loss needs images of one size.
        semantic: the stride of the map of classes that it is trained on, too; 0: on none.
    """

    config: str
    options: dict[str, Any] = field(default_factory=dict)
    masks: bool = False
    epoch: int = 0
    one_size: bool = False
    semantic: int = 0


_CSP = {
    'backbone.widen_factor': 0.125,
    'backbone.deepen_factor': 0.1,
    'neck.in_channels': [32, 64, 128],
    'neck.num_csp_blocks': 1,
}
_GROUPS = {'bbox_head.norm_cfg': {'type': 'GN', 'num_groups': 4}}
_SOLO = {'mask_head.norm_cfg': {'type': 'GN', 'num_groups': 4}}
_SOLOV2 = {**_SOLO, 'mask_head.mask_feature_head.norm_cfg': {'type': 'GN', 'num_groups': 4}}
_TOOD = {**_GROUPS, 'bbox_head.stacked_convs': 2}
DENSE = {
    'RetinaNet': Family('retinanet/retinanet_r50_fpn_1x_coco'),
    'RetinaNet-SepBN': Family(
        'retinanet/retinanet_r50_fpn_1x_coco',
        {'bbox_head.type': 'RetinaSepBNHead', 'bbox_head.num_ins': 5},
    ),
    'PISA-RetinaNet': Family('pisa/retinanet-r50_fpn_pisa_1x_coco'),
    'FSAF': Family('fsaf/fsaf_r50_fpn_1x_coco'),
    'FreeAnchor': Family('free_anchor/freeanchor_r50_fpn_1x_coco'),
    'GA-RetinaNet': Family('guided_anchoring/ga-retinanet_r50-caffe_fpn_1x_coco'),
    'SABL-RetinaNet': Family('sabl/sabl-retinanet_r50_fpn_1x_coco'),
    'FCOS': Family('fcos/fcos_r50-caffe_fpn_gn-head_1x_coco', _GROUPS),
    'NAS-FCOS': Family('nas_fcos/nas-fcos_r50-caffe_fpn_nashead-gn-head_4xb4-1x_coco'),
    'FoveaBox': Family('foveabox/fovea_r50_fpn_4xb4-1x_coco'),
    'CenterNet2': Family('centernet/centernet-update_r50_fpn_8xb8-amp-lsj-200e_coco', _GROUPS),
    'ATSS': Family('atss/atss_r50_fpn_1x_coco', _GROUPS),
    'DDOD': Family('ddod/ddod_r50_fpn_1x_coco', {**_GROUPS, 'bbox_head.use_dcn': False}),
    'PAA': Family('paa/paa_r50_fpn_1x_coco', _GROUPS),
    'GFL': Family('gfl/gfl_r50_fpn_1x_coco', _GROUPS),
    'VFNet': Family('vfnet/vfnet_r50_fpn_1x_coco', _GROUPS),
    'TOOD': Family('tood/tood_r50_fpn_1x_coco', _TOOD),
    'TOOD, later': Family('tood/tood_r50_fpn_1x_coco', _TOOD, epoch=4),
    'AutoAssign': Family('autoassign/autoassign_r50-caffe_fpn_1x_coco', _GROUPS),
    'RepPoints': Family('reppoints/reppoints-moment_r50_fpn_1x_coco'),
    'YOLOF': Family('yolof/yolof_r50-c5_8xb8-1x_coco', {'neck.block_mid_channels': 16}),
    'YOLOv3': Family(
        'yolo/yolov3_mobilenetv2_8xb24-320-300e_coco',
        {
            'backbone.widen_factor': 0.25,
            'neck.in_channels': [80, 24, 8],
            'neck.out_channels': [16, 16, 16],
            'bbox_head.in_channels': [16, 16, 16],
            'bbox_head.out_channels': [16, 16, 16],
        },
    ),
    'YOLOX': Family('yolox/yolox_tiny_8xb8-300e_coco', _CSP),
    'RTMDet': Family('rtmdet/rtmdet_tiny_8xb32-300e_coco', _CSP),
    'RTMDet-Ins': Family('rtmdet/rtmdet-ins_tiny_8xb32-300e_coco', _CSP, masks=True, one_size=True),
    'CondInst': Family('condinst/condinst_r50_fpn_ms-poly-90k_coco_instance', _GROUPS, masks=True),
    'SOLO': Family('solo/solo_r50_fpn_1x_coco', _SOLO, masks=True),
    'Decoupled SOLO': Family('solo/decoupled-solo_r50_fpn_1x_coco', _SOLO, masks=True),
    'Decoupled light SOLO': Family('solo/decoupled-solo-light_r50_fpn_3x_coco', _SOLO, masks=True),
    'SOLOv2': Family('solov2/solov2_r50_fpn_1x_coco', _SOLOV2, masks=True),
    'YOLACT': Family('yolact/yolact_r50_1xb8-55e_coco', masks=True, one_size=True),
    'SSD': Family(
        'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco',
        {
            'backbone.widen_factor': 0.25,
            'neck.in_channels': [24, 1280],
            'neck.out_channels': [24, 1280, 16, 16, 16, 16],
            'bbox_head.in_channels': [24, 1280, 16, 16, 16, 16],
        },
    ),
}
ROI = {
    'Faster R-CNN': Family('faster_rcnn/faster-rcnn_r50_fpn_1x_coco'),
    'OHEM': Family('faster_rcnn/faster-rcnn_r50_fpn_ohem_1x_coco'),
    'Libra R-CNN': Family('libra_rcnn/libra-faster-rcnn_r50_fpn_1x_coco'),
    'Dynamic R-CNN': Family('dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco'),
    'Double-Head R-CNN': Family('double_heads/dh-faster-rcnn_r50_fpn_1x_coco'),
    'SABL': Family('sabl/sabl-faster-rcnn_r50_fpn_1x_coco'),
    'PISA': Family('pisa/faster-rcnn_r50_fpn_pisa_1x_coco'),
    'TridentNet': Family(
        'tridentnet/tridentnet_r50-caffe_1x_coco',
        {
            'backbone.base_channels': 8,
            'rpn_head.in_channels': 128,
            'roi_head.shared_head': None,
            'roi_head.bbox_roi_extractor.out_channels': 128,
            'roi_head.bbox_roi_extractor.roi_layer.output_size': 7,
            'roi_head.bbox_head.in_channels': 128,
            'train_cfg.rcnn.sampler.add_gt_as_proposals': True,
        },
    ),
    'Mask R-CNN': Family('mask_rcnn/mask-rcnn_r50_fpn_1x_coco', masks=True),
    'Grid R-CNN': Family(
        'grid_rcnn/grid-rcnn_r50_fpn_gn-head_2x_coco',
        {'roi_head.grid_head.norm_cfg.num_groups': 9, 'roi_head.grid_head.point_feat_channels': 4},
    ),
    'Mask Scoring R-CNN': Family('ms_rcnn/ms-rcnn_r50-caffe_fpn_1x_coco', masks=True),
    'Panoptic FPN': Family('panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco', masks=True, semantic=1),
    'Cascade R-CNN': Family('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco'),
    'Cascade Mask R-CNN': Family('cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco', masks=True),
    'SABL Cascade': Family('sabl/sabl-cascade-rcnn_r50_fpn_1x_coco'),
    'HTC': Family('htc/htc_r50_fpn_1x_coco', masks=True, semantic=8, one_size=True),
    'HTC without semantic': Family('htc/htc-without-semantic_r50_fpn_1x_coco', masks=True),
    'SCNet': Family('scnet/scnet_r50_fpn_1x_coco', masks=True, semantic=8, one_size=True),
    'Sparse R-CNN': Family('sparse_rcnn/sparse-rcnn_r50_fpn_1x_coco'),
    'QueryInst': Family('queryinst/queryinst_r50_fpn_1x_coco', masks=True),
}
_WIDE = {'neck.out_channels': 256}  # some encode places in 256 numbers, whatever is configured
QUERY = {
    'DETR': Family('detr/detr_r50_8xb2-150e_coco', _WIDE),
    'Conditional DETR': Family('conditional_detr/conditional-detr_r50_8xb2-50e_coco', _WIDE),
    'DAB-DETR': Family('dab_detr/dab-detr_r50_8xb2-50e_coco', _WIDE),
    'Deformable DETR': Family('deformable_detr/deformable-detr_r50_16xb2-50e_coco', _WIDE),
    'Deformable DETR, two stages': Family(
        'deformable_detr/deformable-detr-refine-twostage_r50_16xb2-50e_coco', _WIDE
    ),
    'DINO': Family('dino/dino-4scale_r50_8xb2-12e_coco', _WIDE),
    'DDQ': Family('ddq/ddq-detr-4scale_r50_8xb2-12e_coco', _WIDE),
}
_MASKS = {
    'panoptic_head.feat_channels': 256,
    'panoptic_head.out_channels': 256,
    'panoptic_head.transformer_decoder.num_layers': 2,
    'panoptic_head.num_stuff_classes': 0,
    'panoptic_fusion_head.num_stuff_classes': 0,
    'test_cfg.panoptic_on': False,
    'test_cfg.instance_on': True,
}
MASK_QUERY = {
    'MaskFormer': Family('maskformer/maskformer_r50_ms-16xb1-75e_coco', _MASKS, masks=True),
    'Mask2Former': Family(
        'mask2former/mask2former_r50_8xb2-lsj-50e_coco',
        {**_MASKS, 'train_cfg.num_points': 64},
        masks=True,
    ),
}
FAMILIES = {**DENSE, **ROI, **QUERY, **MASK_QUERY}
# One of each way to hand over rows and labels, for tests that take their time.
EXEMPLARS = {
    *('RetinaNet', 'PISA-RetinaNet', 'AutoAssign', 'GFL', 'YOLOX', 'SSD', 'DETR', 'DINO'),
    *('Faster R-CNN', 'Cascade R-CNN', 'Sparse R-CNN', 'Mask2Former'),
}


def rows_of(names: Iterable[str], quick: Container[str] | None = None) -> list:
    """The names of families as parameters of a test; slow those that are not in ``quick``."""
    without = importlib.util.find_spec('sklearn') is None
    needs_sklearn = pytest.mark.skipif(without, reason="MMDetection's PAA needs scikit-learn")
    rows = []
    for name in names:
        marks = [pytest.mark.slow] if quick is not None and name not in quick else []
        marks += [needs_sklearn] if name == 'PAA' else []
        rows.append(pytest.param(name, marks=marks))
    return rows


def thin(family: Family, num_classes: int = NUM_CLASSES) -> Config:
    """The family's config with a model of few channels, layers and classes."""
    config = copy.deepcopy(_config(family.config))
    make_thin(config.model, num_classes, channels=16)
    if 'panoptic_head' in config.model:
        config.model.panoptic_head.loss_cls.class_weight = [1.0] * num_classes + [0.1]
    config.merge_from_dict({f'model.{key}': value for key, value in family.options.items()})
    return config


@cache
def _config(name: str) -> Config:
    return get_config(f'mmdet::{name}.py')


def build(family: Family, seed: int, num_classes: int = NUM_CLASSES) -> torch.nn.Module:
    """The thin model with random weights."""
    with torch.random.fork_rng(devices=[]), DefaultScope.overwrite_default_scope('mmdet'):
        torch.manual_seed(seed)
        model = MODELS.build(thin(family, num_classes).model)
        model.init_weights()
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # one forward is as another
            if isinstance(module, torch.nn.MultiheadAttention):
                module.dropout = 0.0
            if type(module).__name__ == 'TridentConv':  # MMDetection leaves what memory held
                torch.nn.init.normal_(module.weight, std=0.01)
            if type(module).__name__ == 'DIIHead':  # or its boxes leave the image within six stages
                torch.nn.init.normal_(module.fc_reg.weight, std=0.1)
    return model


@cache
def _student(name: str) -> torch.nn.Module:
    return build(FAMILIES[name], seed=0)


def student_of(name: str) -> torch.nn.Module:
    """A student of the family; its own copy."""
    return copy.deepcopy(_student(name)).train()


@cache
def teacher_of(name: str) -> Teacher:
    """A teacher of the family, from a checkpoint; the same for all who ask."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'teacher.pth'
        torch.save({'state_dict': build(FAMILIES[name], seed=1).state_dict()}, path)
        return Teacher(thin(FAMILIES[name]), str(path))


def guest_of(model: torch.nn.Module, name: str) -> Teacher:
    """A teacher of the family whose model is ``model``."""
    guest = copy.copy(teacher_of(name))
    guest.model, guest._compared = model, None
    return guest


def forward(adapter: Adapter, inputs: Any, data_samples: Any) -> tuple[LogitBatch, dict]:
    """One forward of the adapter's student as a run has it: what was read, and its own losses."""
    handles = adapter.attach()
    try:
        adapter.reset()
        adapter.prepare(inputs, data_samples)
        losses = adapter.student(inputs, data_samples, mode='loss')
        return adapter.batch(inputs, data_samples), losses
    finally:
        for handle in handles:
            handle.remove()


def total(losses: dict[str, Any]) -> torch.Tensor:
    """The sum of all losses of a detector."""
    lists = (value if isinstance(value, list | tuple) else [value] for value in losses.values())
    named = zip(losses, lists, strict=True)
    return sum(part.mean() for name, parts in named if 'loss' in name for part in parts)


def prepared(student: torch.nn.Module, name: str, **options: Any) -> tuple[Any, list]:
    """:func:`images` as the family's student sees them, in the family's epoch."""
    MessageHub.get_current_instance().update_info('epoch', FAMILIES[name].epoch)
    family = FAMILIES[name]
    data = images(masks=family.masks, semantic=family.semantic, **options)
    data = student.data_preprocessor(data, training=True)
    return data['inputs'], data['data_samples']


def images(
    sizes: Sequence[tuple[int, int]] = ((64, 64), (64, 64)),
    objects: Sequence[int] = (2, 1),
    masks: bool = False,
    semantic: int = 0,
    seed: int = 0,
) -> dict[str, list]:
    """Noisy images with coloured boxes of 20 to 40 pixels, as a data loader hands them over.

    Args:
        sizes: (height, width) of each.
        objects: how many boxes each has.
        masks: whether the boxes have masks, which fill them.
        semantic: the stride of a map of classes; 0: there is none.
        seed: of all that is random.
    """
    from mmdet.structures import DetDataSample
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks

    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    inputs, samples = [], []
    for (height, width), number in zip(sizes, objects, strict=True):
        image = torch.randint(0, 80, (3, height, width), dtype=torch.uint8, generator=generator)
        boxes, labels = torch.zeros(number, 4), torch.zeros(number, dtype=torch.int64)
        filled = torch.zeros(number, height, width, dtype=torch.uint8)
        for index in range(number):
            w, h, label = draw(20, 41), draw(20, 41), draw(0, NUM_CLASSES)
            x, y = draw(0, width - w + 1), draw(0, height - h + 1)
            boxes[index], labels[index] = torch.tensor([x, y, x + w, y + h]), label
            filled[index, y : y + h, x : x + w] = 1
            image[label, y : y + h, x : x + w] += 150
        sample = DetDataSample(
            metainfo={
                'img_shape': (height, width),
                'ori_shape': (height, width),
                'scale_factor': (1.0, 1.0),
                'img_id': len(samples),
            }
        )
        sample.gt_instances = InstanceData(bboxes=HorizontalBoxes(boxes), labels=labels)
        if semantic:
            shape = (1, height // semantic, width // semantic)
            sample.gt_sem_seg = PixelData(sem_seg=torch.zeros(shape, dtype=torch.int64))
        sample.ignored_instances = InstanceData(
            bboxes=HorizontalBoxes(torch.zeros(0, 4)), labels=torch.zeros(0, dtype=torch.int64)
        )
        if masks:
            sample.gt_instances.masks = BitmapMasks(filled.numpy(), height, width)
            sample.ignored_instances.masks = BitmapMasks([], height, width)
        inputs.append(image)
        samples.append(sample)
    return {'inputs': inputs, 'data_samples': samples}
