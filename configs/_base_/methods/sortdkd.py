# Decoupled distillation from the sorted teacher (arXiv 2508.16544).
custom_imports = dict(imports=['sortkd_det.detection'], allow_failed_imports=False)
method = [
    dict(
        processors=['SortLogits'],
        loss=dict(type='DKDLoss', alpha=1.0, beta=0.25, temperature=1.0),
    )
]
