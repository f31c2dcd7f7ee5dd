"""Which kernels are taken where, and the Triton kernels by Triton's interpreter and on CUDA."""

import sys
import types
import warnings
from pathlib import Path

import numpy
import pytest

from sortkd_det.functional import kernels

CASES = Path(__file__).with_name('kernel_cases.py')


def test_the_triton_kernels_agree_with_plain_torch(run_python):
    triton = pytest.importorskip('triton', reason='Triton comes with CUDA builds of torch')
    versions = [tuple(map(int, m.__version__.split('.')[:2])) for m in (triton, numpy)]
    if versions[0] < (3, 9) and versions[1] >= (2, 4):
        pytest.skip("Triton's interpreter, before 3.9, does not know numpy 2.4")
    done = run_python(CASES, env={'TRITON_INTERPRET': '1'})
    assert done.stdout.strip().endswith('agree')


@pytest.mark.cuda
@pytest.mark.parametrize('name', ['sort_cuda', 'divergence_cuda', 'rank_cuda'])
def test_the_triton_kernels_pass_their_check_on_the_device(name):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert kernels.load_kernels.__wrapped__(name) is not None


def test_kernels_that_fail_their_check_are_left_aside_with_a_warning(monkeypatch):
    def check():
        raise RuntimeError('wrong results')

    broken = types.SimpleNamespace(check=check)
    monkeypatch.setitem(sys.modules, 'sortkd_det.functional.kernels.broken', broken)
    with pytest.warns(UserWarning, match='broken do not work here .* RuntimeError: wrong results'):
        assert kernels.load_kernels.__wrapped__('broken') is None


@pytest.mark.parametrize('name', ['sort_cpu', 'rank_cpu', 'sort_cuda'])
def test_the_environment_can_switch_kernels_off(monkeypatch, name):
    if name.endswith('cpu'):
        pytest.importorskip('numba')
        assert kernels.load_kernels.__wrapped__(name) is not None
    monkeypatch.setenv('SORTKD_KERNELS', '0')
    assert kernels.load_kernels.__wrapped__(name) is None
