# Faster R-CNN R101 teaches R18 on COCO by sorted logits; reported: +0.41 AP.
_base_ = './coco/frcnn_r101_r18_sortkd.py'
