# Multi-level logit distillation (CVPR 2023) on the one view that detectors see: rows, their
# relations, and those of the classes, where the teacher is in doubt. Weights are our start.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
temperature = [2, 3, 4, 5, 6]
method = [
    dict(loss=dict(type='KDLoss', temperature=temperature), confidence_quantile=0.5),
    dict(loss=dict(type='BatchGramLoss', temperature=temperature), confidence_quantile=0.5),
    dict(loss=dict(type='ClassGramLoss', temperature=temperature, confidence_quantile=0.5)),
]
