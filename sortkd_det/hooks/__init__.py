"""What watches a run."""

from .fit_check import FitCheckHook
from .teacher_audit import TeacherAuditHook

__all__ = ['FitCheckHook', 'TeacherAuditHook']
