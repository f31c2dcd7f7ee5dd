"""Checks of data before a run: COCO files, their images, and the metrics that read them."""

from .check import check_annotations, check_data
from .findings import Report
from .teacher import check_teacher

__all__ = ['Report', 'check_annotations', 'check_data', 'check_teacher']
