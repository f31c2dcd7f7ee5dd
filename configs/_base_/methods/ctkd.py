# Curriculum temperature (arXiv 2211.16231): T = 1 + 20 sigmoid(theta) is learned against the
# student. Runs counted in iterations count `ramp` in them, too.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [dict(loss=dict(type='KDLoss', temperature=dict(type='LearnableTemperature', ramp=10)))]
