# Channel-wise distillation of features (arXiv 2011.13256); its authors' settings for detectors.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [dict(loss=dict(type='CWDLoss', temperature=1.0, loss_weight=10.0))]
