# Plackett-Luce distillation (arXiv 2506.12542); it holds a cross-entropy with the labels.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [dict(loss=dict(type='PLDLoss'))]
