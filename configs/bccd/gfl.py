_base_ = './data.py'
from mmengine.hub import get_config  # noqa: E402

model = get_config('mmdet::gfl/gfl_r50_fpn_1x_coco.py').model
model.backbone.update(depth=18, base_channels=8, frozen_stages=-1, norm_eval=False, init_cfg=None)
model.neck.update(in_channels=[8, 16, 32, 64], out_channels=64, norm_cfg=dict(type='BN'))
model.bbox_head.update(num_classes=3, in_channels=64, feat_channels=64, stacked_convs=2)
