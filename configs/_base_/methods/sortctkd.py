# Curriculum temperature with a sorted teacher (arXiv 2508.16544); settings as in ctkd.py.
custom_imports = dict(imports=['sortkd_det.detection'], allow_failed_imports=False)
method = [
    dict(
        processors=['SortLogits'],
        loss=dict(type='KDLoss', temperature=dict(type='LearnableTemperature', ramp=10)),
    )
]
