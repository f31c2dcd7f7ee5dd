"""What a method is, the teacher as a guest, and the hook that joins them to a run."""

from .adapter import Adapter, find_adapter
from .checkpoint import UnsafeCheckpointError, load_checkpoint
from .config import read_config
from .hook import DistilledBatch, DistillHook, PlainCheckpointHook
from .method import Method
from .pairs import LogitPairs
from .teacher import Teacher, load_weights
from .term import Term
from .weights import fit_weights, starting_weights

__all__ = [
    'Adapter',
    'DistillHook',
    'DistilledBatch',
    'LogitPairs',
    'Method',
    'PlainCheckpointHook',
    'Teacher',
    'Term',
    'UnsafeCheckpointError',
    'find_adapter',
    'fit_weights',
    'load_checkpoint',
    'load_weights',
    'read_config',
    'starting_weights',
]
