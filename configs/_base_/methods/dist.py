# Correlations between and within classes (arXiv 2205.10536), the paper's weights for ImageNet.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [dict(loss=dict(type='DISTLoss', beta=1.0, gamma=1.0, temperature=1.0))]
