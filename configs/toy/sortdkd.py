_base_ = ['./student.py', '../_base_/methods/sortdkd.py']
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=dict(
            config='configs/toy/teacher.py', checkpoint='work_dirs/demo/teacher/epoch_14.pth'
        ),
        method=_base_.method,
        check_teacher=100,
    ),
    dict(type='sortkd_det.TeacherAuditHook', interval=25),
]
