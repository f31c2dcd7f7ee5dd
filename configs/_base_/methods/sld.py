# Swapped logit distillation (arXiv 2504.20108). `begin` is the paper's epoch for 240 epochs of
# CIFAR-100: set it to about 60% of your run, in iterations where the run counts them.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [
    dict(
        processors=['SwapLogits'],
        loss=dict(type='KDLoss', temperature=[1, 2, 3, 4, 5, 6]),
        views='all',
    ),
    dict(
        target='student',
        processors=['SwapLogits'],
        loss=dict(type='KDLoss', temperature=[1, 2, 3, 4, 5, 6]),
        views='all',
        begin=151,
    ),
]
