# A teacher of the Faster R-CNN in student.py.
_base_ = './teacher.py'
from mmengine.hub import get_config  # noqa: E402

_cascade = get_config('mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py').model
_roi = dict(type='CascadeRoIHead', num_stages=3, stage_loss_weights=[1, 0.5, 0.25])
_thin = dict(num_classes=3, in_channels=64, fc_out_channels=256)
_roi['bbox_head'] = [dict(head, **_thin) for head in _cascade.roi_head.bbox_head]
_rcnn = [dict(s, sampler=dict(s.sampler, num=64)) for s in _cascade.train_cfg.rcnn]
model = dict(type='CascadeRCNN', roi_head=_roi, train_cfg=dict(rcnn=_rcnn))
