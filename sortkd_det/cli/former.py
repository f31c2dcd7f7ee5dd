"""Config files that there were once, and the commands that do today what they did."""

import re

from .methods import known_methods

_FROM_ZOO = '--teacher mmdet::faster_rcnn/faster-rcnn_{teacher}_fpn_2x_coco.py'
# A former path, and the arguments that say the same today.
_FORMER = (
    (
        r'configs/(?P<data>cifar100|imagenet|tiny_imagenet)(/(?P<method>\w+)\.py)?',
        'configs/{data}.py --pair TEACHER-STUDENT',
    ),
    (r'configs/clothing(/(?P<method>\w+)\.py)?', 'configs/clothing/student.py'),
    (
        r'configs/(?P<data>toy|bccd)/(?P<method>\w+)\.py',
        'configs/{data}/student.py --teacher configs/{data}/teacher.py --teacher-checkpoint PATH',
    ),
    (
        r'configs/bccd/frcnn_(?P<teacher>r101)_(?P<student>r18)_(?P<method>sortkd)\.py',
        f'configs/bccd/frcnn_{{student}}.py {_FROM_ZOO} --teacher-checkpoint PATH',
    ),
    (
        r'configs/coco/frcnn_(?P<teacher>r\d+)_(?P<student>mv2|r18|r50)_(?P<method>[a-z]+)'
        r'(?P<schedule>_1x)?\.py',
        f'configs/coco/frcnn_{{student}}{{schedule}}.py {_FROM_ZOO}',
    ),
)


def successor_of(path: str) -> str | None:
    """The arguments of ``tools/train.py`` that say today what a former config said, or None.

    Args:
        path: of a config file, or of a folder of them, that does not exist.
    """
    for pattern, arguments in _FORMER:
        found = re.search(rf'(?:^|/){pattern}$', path.rstrip('/'))
        if found is None:
            continue
        parts = {name: value or '' for name, value in found.groupdict().items()}
        method = parts['method']
        if method == 'student':
            return arguments.format(**parts)
        if not method or method in known_methods():
            return f'{arguments.format(**parts)} --method {method or "METHOD"}'
    return None
