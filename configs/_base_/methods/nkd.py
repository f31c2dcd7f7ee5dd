# Normalised distillation (arXiv 2303.13005), its authors' settings for ImageNet.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [dict(loss=dict(type='NKDLoss', gamma=1.5, temperature=1.0))]
