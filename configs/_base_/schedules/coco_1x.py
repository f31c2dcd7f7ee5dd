# MMDetection's own 1x: batch 16 (8 GPUs x 2 images), lr 0.02, 12 epochs, one scale.
_base_ = [
    'mmdet::_base_/datasets/coco_detection.py',
    'mmdet::_base_/schedules/schedule_1x.py',
    'mmdet::_base_/default_runtime.py',
]
