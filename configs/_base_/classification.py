# What every run of a classifier shares; a data set's own file gives data, model and schedule.
custom_imports = dict(imports=['sortkd_det.classification'], allow_failed_imports=False)
default_scope = 'mmengine'

train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='sortkd_det.SeededBatchSampler'),
    collate_fn=dict(type='collate'),
)
val_dataloader = dict(
    batch_size=256,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='collate'),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='sortkd_det.Accuracy')
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='accuracy/top1'),
)
randomness = dict(seed=0)
