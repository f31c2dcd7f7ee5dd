# Logit standardisation (arXiv 2403.01427): KD between standardised logits. T 2 is the paper's for
# CIFAR-100, where the weight is 9; for detection it names none, 1 is our start.
custom_imports = dict(imports=['sortkd_det.hooks'], allow_failed_imports=False)
method = [
    dict(
        processors=['StandardizeLogits'],
        student_processors=['StandardizeLogits'],
        loss=dict(type='KDLoss', temperature=2.0),
    )
]
