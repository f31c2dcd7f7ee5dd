"""MMDetection's models of ResNets made thin, for what is tried on many of them."""

from typing import Any

_CHANNELS = (
    *('in_channels', 'out_channels', 'feat_channels', 'point_feat_channels'),
    *('conv_out_channels', 'fc_out_channels', 'fc_channels', 'out_conv_channels'),  # of RoI heads
    *('cls_in_channels', 'cls_out_channels', 'reg_in_channels', 'reg_cls_out_channels'),  # of SABL
    *('reg_offset_out_channels', 'inner_channels', 'proposal_feature_channel'),
    *('feedforward_channels', 'hidden_channels'),
)
_PROPOSALS = ('num', 'nms_pre', 'max_per_img', 'num_proposals')
_NUMBERS = {'num_groups': 4, 'stacked_convs': 1, 'num_queries': 20, 'num_dn_queries': 10}


def make_thin(model: Any, num_classes: int, channels: int) -> None:
    """Change a model's config to few channels, layers, proposals and classes.

    Args:
        model: the config, of COCO's 80 classes.
        num_classes: how many it gets.
        channels: what becomes of 64 channels and more.
    """
    _thin(model, num_classes, channels)
    model.data_preprocessor.pop('batch_augments', None)
    if model.backbone.type == 'ResNet':
        model.backbone.update(depth=18, base_channels=8)


def _thin(node: Any, num_classes: int, channels: int) -> None:
    for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
        if key == 'init_cfg' and isinstance(value, dict) and value['type'] == 'Pretrained':
            node[key] = None
        elif value == 80 and key in ('num_classes', 'num_things_classes'):
            node[key] = num_classes
        elif value == 'SyncBN':
            node[key] = 'BN'  # which runs on the CPU in several processes, too
        elif key in _NUMBERS and value is not None:
            node[key] = _NUMBERS[key]
        elif key in _PROPOSALS and isinstance(value, int) and value >= 64:
            node[key] = 24
        elif key == 'num_layers' and value == 6:
            node[key] = 2
        elif key in _CHANNELS and isinstance(value, list) and value[-1] == 2048:
            node[key] = [each // 32 for each in value]
        elif key in _CHANNELS and isinstance(value, int) and value >= 64:
            node[key] = 64 if value == 2048 else channels
        elif isinstance(value, dict | list | tuple):
            _thin(value, num_classes, channels)
