"""The Triton kernels compile for a GPU, which takes no device.

The interpreter does not see what the compiler refuses: a variable of a loop that changes its type,
a branch that no test takes.
"""

import pytest
import torch

MANY = 2**17  # rows that keep a device busy: several of them share a warp
HALVES = (torch.float16, torch.bfloat16)


@pytest.fixture
def kernels(monkeypatch):
    """The modules of kernels, whose launches compile and run nothing.

    ``kernels.programs`` is the machine code by the kernels' names.
    """
    pytest.importorskip('triton', minversion='3.6', reason='Triton comes with CUDA builds of torch')
    import kernel_compiler

    kernel_compiler.programs.clear()
    for module in kernel_compiler.MODULES:
        monkeypatch.setattr(module, 'launch', kernel_compiler.compile_only)
    return kernel_compiler


@pytest.fixture
def in_pieces(kernels, monkeypatch):
    """Rows of 50 classes count as wide: short pieces compile in less time."""
    for module in (kernels.sort_cuda, kernels.divergence_cuda):
        monkeypatch.setattr(module, 'WIDEST', 49)
        monkeypatch.setattr(module, '_PIECE', 64)
    monkeypatch.setattr(kernels.sort_cuda, '_SPAN', 64)


def batch(num_rows, num_classes, dtype=torch.float32):
    return torch.zeros(num_rows, num_classes, dtype=dtype), torch.zeros(num_rows, dtype=torch.int64)


@pytest.mark.parametrize(
    ('num_rows', 'num_classes', 'dtype', 'sources', 'ignore_index'),
    [
        pytest.param(4, 10, torch.float32, False, None, id='values'),
        pytest.param(4, 10, torch.float32, True, 3, id='sources'),
        pytest.param(MANY, 7, torch.float32, False, 3, id='rows that share a warp'),
        pytest.param(MANY, 8, torch.float16, True, None, id='sources in float16'),
        pytest.param(4, 10, torch.bfloat16, False, None, id='bfloat16'),
    ],
)
def test_the_sort_compiles(kernels, num_rows, num_classes, dtype, sources, ignore_index):
    kernels.sort_cuda.sort_rows(*batch(num_rows, num_classes, dtype), ignore_index, sources)
    assert kernels.programs['_sort_kernel']


@pytest.mark.parametrize('sources', [False, True])
def test_the_sort_of_wide_rows_compiles(kernels, in_pieces, sources):
    kernels.sort_cuda.sort_rows(
        *batch(4, 50, torch.bfloat16 if sources else torch.float32), 3, sources
    )
    assert kernels.programs.keys() == {'_wide_kernel'}


@pytest.mark.parametrize(
    ('kind', 'num_rows', 'dtypes', 'sort', 'temperatures', 'has_weight', 'avg_factor'),
    [
        pytest.param('kd', 4, (torch.float32,) * 2, True, (4.0,), False, None, id='kd'),
        pytest.param('kd', MANY, HALVES, True, (1.0,), True, torch.ones(()), id='kd of many rows'),
        pytest.param('kd', 4, HALVES, False, (1.0, 2.0), False, 3.0, id='kd without a sort'),
        pytest.param('dkd', 4, (torch.float32,) * 2, True, (4.0,), True, None, id='dkd'),
        pytest.param('bernoulli', 4, (torch.float32,) * 2, True, (1.0,), True, 2.0, id='bernoulli'),
    ],
)
def test_divergences_compile(
    kernels, kind, num_rows, dtypes, sort, temperatures, has_weight, avg_factor
):
    (student, labels), (target, _) = (batch(num_rows, 10, dtype) for dtype in dtypes)
    weight = torch.ones(num_rows) if has_weight else None
    kernels.divergence_cuda.divergence(
        student, target, labels, weight, avg_factor, kind, temperatures, 1.0, 1.0, 1.0, sort, 3
    )
    assert kernels.programs.keys() == {'_divergence_kernel'}


@pytest.mark.parametrize('num_rows', [4, 2**12])
def test_divergences_of_wide_rows_compile(kernels, in_pieces, num_rows):
    student, labels = batch(num_rows, 50)
    kernels.divergence_cuda.divergence(
        student, student, labels, None, None, 'kd', (4.0,), 1.0, 1.0, 1.0, True, None
    )
    assert kernels.programs.keys() == {'_wide_kernel', '_wide_kd_kernel'}


def test_soft_ranks_and_their_gradient_compile(kernels):
    values = torch.zeros(4, 10, requires_grad=True)
    kernels.rank_cuda.soft_rank(values, 1.0).sum().backward()
    assert kernels.programs.keys() == {'_rank_kernel', '_gradient_kernel'}


@pytest.mark.parametrize('in_place', [False, True])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_the_scale_of_a_gradient_compiles(kernels, monkeypatch, dtype, in_place):
    monkeypatch.setattr(kernels.divergence_cuda, '_WORTH_A_LAUNCH', 0)
    kernels.divergence_cuda.scale(torch.zeros(4, 10, dtype=dtype), torch.ones(()), 1.0, in_place)
    assert kernels.programs.keys() == {'_scale_kernel'}


@pytest.mark.parametrize('num_rows', [2**12, MANY])  # two of them share a warp, or more
@pytest.mark.parametrize('num_classes', [31, 80, 81, 82])
def test_rows_that_share_a_warp_are_reduced_apart(kernels, monkeypatch, num_rows, num_classes):
    from sortkd_det.functional.kernels.launch_cuda import _REDUCTION, torn_reductions

    monkeypatch.setenv('TRITON_ALWAYS_COMPILE', '1')  # nothing is on the disk up to there
    for module in kernels.MODULES:
        monkeypatch.setattr(module, 'launch', kernels.lay_out_only)
    kernels.layouts.clear()
    labels = torch.zeros(num_rows, dtype=torch.int64)
    full, half = (torch.zeros(num_rows, num_classes, dtype=d) for d in (torch.float32, HALVES[0]))
    kernels.sort_cuda.sort_rows(full, labels, None, True)
    kernels.sort_cuda.sort_rows(half, labels, None)
    for student, target in ((full, full), (half, full), (full, half), (half, half)):
        kernels.divergence_cuda.divergence(
            student, target, labels, None, None, 'kd', (1.0,), 1.0, 1.0, 1.0, True, None
        )
    assert len(kernels.layouts) == 6
    for code in kernels.layouts:
        assert code.count('"tt.reduce"') == len(_REDUCTION.findall(code))
        assert torn_reductions(code) == []


def test_a_reduction_over_lanes_that_are_no_neighbours_is_found():
    pytest.importorskip('triton')
    from sortkd_det.functional.kernels.launch_cuda import torn_reductions

    code = """\
#linear = #ttg.linear<{register = [[0, 1]], lane = [[0, 4], [1, 0], [0, 16]], warp = []}>
%count = "tt.reduce"(%above) <{axis = 1 : i32}> ({
^bb0(%a: i32, %b: i32):
  tt.reduce.return %a : i32
}) : (tensor<2x128xi32, #linear>) -> tensor<2xi32, #ttg.slice<{dim = 1, parent = #linear}>>
"""
    assert torn_reductions(code) == ['axis 1 of #linear over lane bits [0, 2]']
    assert torn_reductions(code.replace('[1, 0], [0, 16]', '[0, 16], [1, 0]')) == []
    assert torn_reductions(code.replace('axis = 1', 'axis = 0')) == []
