import ast
import sys
from pathlib import Path

import mmengine.registry
import pytest
from mmengine.registry import DefaultScope

from sortkd_det.hooks import TeacherAuditHook
from sortkd_det.losses import DKDLoss, KDLoss
from sortkd_det.processors import SortLogits
from sortkd_det.registry import HOOKS, LOGIT_PROCESSORS, MODELS, build

PACKAGE = Path(__file__).parents[1] / 'sortkd_det'

# -- build -------------------------------------------------------------------


@pytest.mark.parametrize('prefix', ['', 'sortkd_det.'])
@pytest.mark.parametrize('scope', [None, 'mmengine', 'mmdet', 'sortkd_det'])
def test_bare_and_prefixed_names_build_ours_whatever_the_default_scope(scope, prefix):
    with DefaultScope.overwrite_default_scope(scope):
        loss = build(MODELS, {'type': f'{prefix}KDLoss', 'temperature': 3}, 'loss')
        sort = build(LOGIT_PROCESSORS, f'{prefix}SortLogits', 'processor')
        hook = build(HOOKS, {'type': f'{prefix}TeacherAuditHook'}, 'hook')
    assert type(loss) is KDLoss
    assert loss.temperature == 3
    assert type(sort) is SortLogits
    assert type(hook) is TeacherAuditHook


def test_mmengines_registries_find_our_types_by_their_prefix_under_mmdets_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        hook = mmengine.registry.HOOKS.build({'type': 'sortkd_det.TeacherAuditHook'})
        loss = mmengine.registry.MODELS.build({'type': 'sortkd_det.DKDLoss', 'beta': 2})
    assert type(hook) is TeacherAuditHook
    assert type(loss) is DKDLoss


def test_a_class_is_a_type_and_an_object_is_built_already():
    assert type(build(MODELS, {'type': KDLoss}, 'loss')) is KDLoss
    loss = KDLoss()
    assert build(MODELS, loss, 'loss') is loss


def test_build_leaves_its_config_as_it_is():
    config = {'type': 'KDLoss', 'temperature': 2}
    build(MODELS, config, 'loss')
    assert config == {'type': 'KDLoss', 'temperature': 2}


@pytest.mark.parametrize('name', ['KLLoss', 'sortkd_det.KLLoss', 'nowhere.KDLoss'])
def test_an_unknown_type_is_answered_with_the_registered_names(name):
    with DefaultScope.overwrite_default_scope('mmdet'):
        with pytest.raises(KeyError, match=f"unknown loss '{name}'.*DKDLoss, .*KDLoss"):
            build(MODELS, name, 'loss')
        with pytest.raises(KeyError, match=r'unknown processor.*SortLogits'):
            build(LOGIT_PROCESSORS, {'type': name}, 'processor')


def test_a_config_without_a_type_is_refused():
    with pytest.raises(TypeError, match=r"a loss needs a type, got \{'temperature': 4\}"):
        build(MODELS, {'temperature': 4}, 'loss')


def test_an_argument_that_the_type_does_not_take_is_named_with_the_type():
    takes = 'it takes temperature, loss_weight, focus$'
    with pytest.raises(TypeError, match=rf"^loss KDLoss: .* 'temprature'; {takes}"):
        build(MODELS, {'type': 'KDLoss', 'temprature': 4}, 'loss')


# -- floors ------------------------------------------------------------------

HEAVY = {'mmengine', 'mmcv', 'mmdet'}


def imported_modules(run_python, statement):
    code = f'{statement}; import sys; print(*{{name.split(".")[0] for name in sys.modules}})'
    return set(run_python('-c', code).stdout.split())


def test_importing_functional_needs_torch_alone(run_python):
    loaded = imported_modules(
        run_python,
        'from sortkd_det.functional import sort_logits; import torch; '
        'sort_logits(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))',
    )
    assert 'torch' in loaded
    assert not loaded & HEAVY


def test_importing_functional_does_not_import_the_compiler(run_python):
    code = 'import sortkd_det.functional, sys; print("torch._dynamo" in sys.modules)'
    assert run_python('-c', code).stdout == 'False\n'


def test_importing_the_package_imports_nothing(run_python):
    loaded = imported_modules(run_python, 'import sortkd_det')
    assert not loaded & (HEAVY | {'torch', 'numpy', 'numba'})


# Room: its floor, and the third-party packages that it may import (None: any but DETECTION's).
DETECTION = {'mmcv', 'mmdet'}
ROOMS = {
    'functional': (0, {'torch', 'numpy', 'numba', 'llvmlite', 'triton'}),
    'registry': (0, {'mmengine'}),
    'version': (0, set()),
    'files': (0, set()),
    'collector': (0, set()),
    'figures': (0, {'matplotlib'}),
    'processors': (1, {'torch'}),
    'losses': (1, {'torch'}),
    'checkpoints': (1, {'torch', 'numpy', 'mmengine', 'safetensors'}),
    'distill': (2, {'torch', 'numpy', 'mmengine'}),
    'classification': (2, None),
    'adapters': (3, {'torch', 'mmdet'}),
    'detection': (3, None),
    'hooks': (4, {'torch', 'mmengine', 'terminaltables'}),
    'training': (5, {'torch', 'numpy', 'mmengine'}),
    'cli': (6, {'torch', 'mmengine'}),
    'studies': (7, None),
}


def imports_of(path):
    """Full names of what a file of the package imports, anywhere in it."""
    package = ('sortkd_det', *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(package[: len(package) + 1 - node.level]) if node.level else ''
            module = '.'.join(filter(None, (base, node.module)))
            yield from (f'{module}.{alias.name}' for alias in node.names)


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


FILES = sorted(PACKAGE.rglob('*.py'))
each_file = pytest.mark.parametrize(
    'path', FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES]
)


@each_file
def test_a_room_imports_only_itself_and_floors_below(path):
    room = room_of(path)
    inside = [name.split('.')[1] for name in imports_of(path) if name.startswith('sortkd_det.')]
    if room == '__init__':
        assert inside == []
        return
    assert room in ROOMS, f'{room} has no floor yet: give it one in ROOMS'
    floor = ROOMS[room][0]
    too_high = {name for name in inside if name != room and ROOMS[name][0] >= floor}
    assert not too_high, f'{room} is on floor {floor} and imports {sorted(too_high)}'


@each_file
def test_a_room_imports_only_the_packages_of_its_floor(path):
    outside = {name.split('.')[0] for name in imports_of(path)}
    outside -= {'sortkd_det', *sys.stdlib_module_names}
    room = room_of(path)
    allowed = set() if room == '__init__' else ROOMS.get(room, (None, None))[1]
    wrong = outside - allowed if allowed is not None else outside & DETECTION
    if room in ('detection', 'studies'):
        wrong -= DETECTION
    assert not wrong, f'{room} may not import {sorted(wrong)}'
