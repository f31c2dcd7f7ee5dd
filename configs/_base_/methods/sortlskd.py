# Logit standardisation with a sorted teacher (arXiv 2508.16544); settings as in lskd.py.
custom_imports = dict(imports=['sortkd_det.detection'], allow_failed_imports=False)
method = [
    dict(
        processors=['StandardizeLogits', 'SortLogits'],
        student_processors=['StandardizeLogits'],
        loss=dict(type='KDLoss', temperature=2.0),
    )
]
