# The student alone.
_base_ = './_base_/cifar100.py'
