"""What a method is, the logits that it is about, and the teacher as a guest of the run."""

from .class_map import ClassMap
from .config import read_config
from .logit_batch import LogitBatch
from .method import Method
from .teacher import Teacher, load_weights
from .term import Term

__all__ = [
    'ClassMap',
    'LogitBatch',
    'Method',
    'Teacher',
    'Term',
    'load_weights',
    'read_config',
]
