# BCCD: 364 microscope photographs of blood, 3 classes; from scratch at 320 x 240, on a CPU.
_base_ = ['mmdet::_base_/datasets/coco_detection.py', '../_base_/schedules/from_scratch.py']

classes = ('RBC', 'WBC', 'Platelets')
data_root = 'data/bccd/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(320, 240), keep_ratio=True),
    dict(
        type='RandomFlip', prob=[0.25, 0.25, 0.25], direction=['horizontal', 'vertical', 'diagonal']
    ),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(320, 240), keep_ratio=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
_data = dict(data_root=data_root, data_prefix=dict(img='images/'), metainfo=dict(classes=classes))
_loader = dict(batch_size=4, num_workers=1)
train_dataloader = dict(
    dataset=dict(ann_file='annotations/train.json', pipeline=train_pipeline, **_data), **_loader
)
val_dataloader = dict(
    dataset=dict(ann_file='annotations/val.json', pipeline=test_pipeline, **_data), **_loader
)
test_dataloader = dict(
    dataset=dict(ann_file='annotations/test.json', pipeline=test_pipeline, **_data), **_loader
)
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = dict(ann_file=data_root + 'annotations/test.json')

train_cfg = dict(max_epochs=16, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=4))
