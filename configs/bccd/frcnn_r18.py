# COCO's student and schedule, full size, on BCCD's images and classes.
_base_ = '../coco/frcnn_r18.py'
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
