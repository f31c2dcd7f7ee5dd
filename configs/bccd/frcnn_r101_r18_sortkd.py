# The COCO recipe itself, full size, on BCCD's images and classes.
_base_ = '../frcnn_r101_r18_sortkd.py'
data = dict(
    data_root='data/bccd/',
    data_prefix=dict(img='images/'),
    metainfo=dict(classes=('RBC', 'WBC', 'Platelets')),
)
model = dict(roi_head=dict(bbox_head=dict(num_classes=3)))
train_dataloader = dict(dataset=dict(ann_file='annotations/train.json', **data))
val_dataloader = dict(dataset=dict(ann_file='annotations/val.json', **data))
test_dataloader = dict(dataset=dict(ann_file='annotations/test.json', **data))
val_evaluator = dict(ann_file='data/bccd/annotations/val.json')
test_evaluator = dict(ann_file='data/bccd/annotations/test.json')
teacher = dict(
    config='mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py',
    cfg_options={'model.roi_head.bbox_head.num_classes': 3},
    checkpoint='work_dirs/bccd/random_r101.pth',
)
custom_hooks = [
    dict(type='sortkd_det.DistillHook', teacher=teacher, method=_base_.method, check_teacher=4),
    dict(type='sortkd_det.TeacherAuditHook'),
]
