"""What a method is, the logits and features it is about, the teacher as a guest of the run."""

from .box_term import BoxTerm
from .class_map import ClassMap
from .config import read_config
from .feature_batch import FeatureBatch
from .feature_term import FeatureTerm
from .logit_batch import LogitBatch
from .method import Method
from .teacher import Teacher, load_weights
from .teacher_cache import TeacherCache
from .term import Term

__all__ = [
    'BoxTerm',
    'ClassMap',
    'FeatureBatch',
    'FeatureTerm',
    'LogitBatch',
    'Method',
    'Teacher',
    'TeacherCache',
    'Term',
    'load_weights',
    'read_config',
]
