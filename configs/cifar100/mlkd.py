# MLKD (CVPR 2023): in the weak view rows, their relations and those of the classes, where the
# teacher is in doubt; in the strong view all rows. The learning rate is SLD's, our start.
_base_ = './_base_/cifar100.py'
_temperature = [2, 3, 4, 5, 6]
_losses = [
    dict(type=name, temperature=_temperature)
    for name in ('KDLoss', 'BatchGramLoss', 'ClassGramLoss')
]
model = dict(data_preprocessor=dict(num_views=2))
optim_wrapper = dict(optimizer=dict(lr='{sld_lr}'))
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight=0.1,
        method=[
            dict(loss=_losses[0], confidence_quantile=0.5, weight=0.9),
            dict(loss=_losses[1], confidence_quantile=0.5, weight=0.9),
            dict(loss=dict(**_losses[2], confidence_quantile=0.5), weight=0.9),
            dict(loss=_losses[0], views='second', weight=0.9),
        ],
    )
]
