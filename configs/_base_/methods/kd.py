# Knowledge distillation (arXiv 1503.02531); T 1 and weight 1 are our start, no paper's.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [dict(loss=dict(type='KDLoss', temperature=1.0, loss_weight=1.0))]
