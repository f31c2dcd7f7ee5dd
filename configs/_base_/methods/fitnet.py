# Mimicked features (arXiv 1412.6550); the weight is our start.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [dict(loss=dict(type='FitNetLoss', loss_weight=1.0))]
