# KD (arXiv 1503.02531) beside a term of boxes; two-stage detectors. The student's own box loss
# once more, with the teacher's boxes for truth where they are nearer to it; T 1 and weights 1 are
# our start.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [
    dict(loss=dict(type='KDLoss', temperature=1.0)),
    dict(type='BoxTerm', bounded=True),
]
