_base_ = ['./frcnn_r50.py', '../_base_/methods/sortdkd.py']
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=dict(config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py'),
        method=_base_.method,
        check_teacher=500,
    ),
    dict(type='sortkd_det.TeacherAuditHook'),
]
