# SLD (arXiv 2504.20108): T 1 to 6. The student's own swap joins when the rate first falls, as on
# CIFAR-100: our start, the paper's epoch for ImageNet is not at hand.
_base_ = './_base_/imagenet.py'
_loss = dict(type='KDLoss', temperature=[1, 2, 3, 4, 5, 6], loss_weight=0.5)
model = dict(data_preprocessor=dict(num_views=2))
custom_hooks = [
    dict(
        type='sortkd_det.DistillHook',
        teacher=_base_.teacher,
        student_weight='{sld_own}',
        method=[
            dict(processors=['SwapLogits'], loss=_loss, views='all'),
            dict(target='student', processors=['SwapLogits'], loss=_loss, views='all', begin=31),
        ],
    )
]
