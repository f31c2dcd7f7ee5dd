_base_ = './data.py'
from mmengine.hub import get_config  # noqa: E402

model = get_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py').model
model.data_preprocessor.update(pad_size_divisor=32)
model.backbone.update(norm_cfg=dict(type='BN'), init_cfg=None)
model.neck.update(norm_cfg=dict(type='BN'))
model.bbox_head.update(num_classes=3, norm_cfg=dict(type='BN'))
