# Kendall ranking loss (arXiv 2409.17823) beside KD, as the paper means it; weights are our start.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [
    dict(loss=dict(type='KDLoss', temperature=1.0)),
    dict(loss=dict(type='KendallLoss', steepness=1.0)),
]
