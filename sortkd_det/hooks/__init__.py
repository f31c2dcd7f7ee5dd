"""What joins a run: distillation, the watching of it, and what makes it safe."""

from .distill_hook import DistilledBatch, DistillHook
from .fit_check_hook import FitCheckHook
from .non_finite_hook import NonFiniteHook
from .plain_checkpoint_hook import PlainCheckpointHook
from .safe_checkpoint_hook import SafeCheckpointHook
from .share_buffers_hook import ShareBuffersHook
from .stop_hook import EXIT_STOPPED, StopHook
from .teacher_audit_hook import TeacherAuditHook

__all__ = [
    'EXIT_STOPPED',
    'DistillHook',
    'DistilledBatch',
    'FitCheckHook',
    'NonFiniteHook',
    'PlainCheckpointHook',
    'SafeCheckpointHook',
    'ShareBuffersHook',
    'StopHook',
    'TeacherAuditHook',
]
