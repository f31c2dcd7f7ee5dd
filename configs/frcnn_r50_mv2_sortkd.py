# Faster R-CNN R50 teaches MobileNetV2 on COCO by sorted logits; reported: +1.20 AP. The same as
#   python tools/train.py configs/coco/frcnn_mv2.py --method sortkd \
#       --teacher mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py
_base_ = ['./coco/frcnn_mv2.py', './_base_/methods/sortkd.py']
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=dict(config='mmdet::faster_rcnn/faster-rcnn_r50_fpn_2x_coco.py'),
        method=_base_.method,
        check_teacher=500,
    ),
    dict(type='sortkd_det.TeacherAuditHook'),
]
