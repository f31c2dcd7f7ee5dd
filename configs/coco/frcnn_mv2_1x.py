_base_ = ['../_base_/students/frcnn_mv2.py', '../_base_/schedules/coco_1x.py']
