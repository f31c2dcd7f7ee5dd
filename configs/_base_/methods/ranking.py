# Ranking alignment (ICIC 2025); lambda 5 and strength 1 are the paper's for CIFAR-100.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [dict(loss=dict(type='RankingLoss', distance='l2', strength=1.0, loss_weight=5.0))]
