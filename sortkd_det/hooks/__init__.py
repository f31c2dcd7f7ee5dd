"""What watches a run."""

from .teacher_audit import TeacherAuditHook

__all__ = ['TeacherAuditHook']
