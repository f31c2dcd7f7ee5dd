# Faster R-CNN R50 teaches MobileNetV2 on COCO by sorted logits; reported: +1.20 AP.
_base_ = './coco/frcnn_r50_mv2_sortkd.py'
