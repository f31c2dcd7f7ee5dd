# The generated toy set (data/toy_coco, `make demo` writes it), from scratch, on a CPU: twelve
# classes, few objects on small images. Half of the RoIs are foreground, for each step to show more
# of the classes. RoIs that half cover an object are left out: what they show is neither the object
# nor background, and a teacher's guess.
_base_ = [
    '../_base_/students/frcnn_thin.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/from_scratch.py',
]

model = dict(
    backbone=dict(base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64]),
    roi_head=dict(bbox_head=dict(num_classes=12)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=300, max_per_img=150),
        rcnn=dict(
            assigner=dict(pos_iou_thr=0.6, neg_iou_thr=0.4, min_pos_iou=0.6),
            sampler=dict(pos_fraction=0.5),
        ),
    ),
)

classes = (
    'circle', 'ellipse', 'ring', 'square', 'rectangle', 'rhombus',
    'star4', 'star5', 'star6', 'plus', 'cross', 'tee',
)  # fmt: skip
data_root = 'data/toy_coco/'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(160, 160), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(160, 160), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
_data = dict(data_root=data_root, metainfo=dict(classes=classes))
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/'),
        pipeline=train_pipeline,
        **_data,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        ann_file='annotations/val.json',
        data_prefix=dict(img='val/'),
        pipeline=test_pipeline,
        **_data,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/val.json')
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=5, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
