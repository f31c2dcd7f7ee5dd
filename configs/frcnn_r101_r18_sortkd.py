# Faster R-CNN R101 teaches R18 on COCO by sorted logits; reported: +0.41 AP. The same as
#   python tools/train.py configs/coco/frcnn_r18.py --method sortkd \
#       --teacher mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py
_base_ = ['./coco/frcnn_r18.py', './_base_/methods/sortkd.py']
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=dict(config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'),
        method=_base_.method,
        check_teacher=500,
    ),
    dict(type='sortkd_det.TeacherAuditHook'),
]
