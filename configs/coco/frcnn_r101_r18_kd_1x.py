_base_ = ['./frcnn_r18_1x.py', '../_base_/methods/kd.py']
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=dict(config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'),
        method=_base_.method,
        check_teacher=500,
    ),
    dict(type='sortkd_det.TeacherAuditHook'),
]
