# SLD (arXiv 2504.20108): swapped teacher, and from epoch 151 on the student's own swap; two views.
_base_ = './_base_/cifar100.py'
_loss = dict(type='KDLoss', temperature=[1, 2, 3, 4, 5, 6], loss_weight=0.9)
model = dict(data_preprocessor=dict(num_views=2))
optim_wrapper = dict(optimizer=dict(lr='{sld_lr}'))
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[
            dict(processors=['SwapLogits'], loss=_loss, views='all'),
            dict(target='student', processors=['SwapLogits'], loss=_loss, views='all', begin=151),
        ],
    )
]
