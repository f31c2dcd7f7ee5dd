# Pearson distillation of features (arXiv 2207.02039); weight and levels are those of Faster R-CNN.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [dict(loss=dict(type='PKDLoss', loss_weight=6.0), num_levels=4)]
