# A thin GFL on the toy set, with labels for 100 of its images: what a student is taught where
# labels are dear. gfl_teacher.py has all of them.
_base_ = './student.py'
from mmengine.hub import get_config  # noqa: E402

_gfl = get_config('mmdet::gfl/gfl_r50_fpn_1x_coco.py').model
_gfl.backbone.update(depth=18, base_channels=8, frozen_stages=-1, norm_eval=False, init_cfg=None)
_gfl.neck.update(in_channels=[8, 16, 32, 64], out_channels=64, norm_cfg=dict(type='BN'))
_gfl.bbox_head.update(num_classes=12, in_channels=64, feat_channels=64, stacked_convs=2)
_gfl.bbox_head.anchor_generator.update(octave_base_scale=6)  # small objects
model = dict(_delete_=True, **_gfl)
train_dataloader = dict(dataset=dict(indices=100))
train_cfg = dict(max_epochs=20, val_interval=10)
default_hooks = dict(checkpoint=dict(interval=10))
