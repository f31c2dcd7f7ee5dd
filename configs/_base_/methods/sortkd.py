# SortKD (arXiv 2508.16544): KD from the sorted teacher.
custom_imports = dict(imports=['sortkd_det.detection'], allow_failed_imports=False)
method = [
    dict(
        processors=['SortLogits'],
        loss=dict(type='KDLoss', temperature=1.0, loss_weight=1.0),
    )
]
