# Transformed teacher matching (arXiv 2402.11148); gamma is our start.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [dict(loss=dict(type='TTMLoss', gamma=0.25))]
