# Decoupled distillation (arXiv 2203.08679), its authors' settings for COCO.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [dict(loss=dict(type='DKDLoss', alpha=1.0, beta=0.25, temperature=1.0))]
