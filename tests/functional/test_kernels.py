"""Which kernels are taken where, and the Triton kernels by Triton's interpreter."""

import sys
import types
import warnings

import pytest
import torch

from sortkd_det.functional import kernels

# Triton's interpreter runs kernels on the CPU; it must be chosen before Triton is imported.
INTERPRETED = """
import torch
from sortkd_det.functional import kl_divergence, sort_logits
from sortkd_det.functional.kernels import rank_cuda, sort_cuda
from sortkd_det.functional.ranks import _pool

generator = torch.Generator().manual_seed(0)
for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
    for num_rows, num_classes in ((1, 2), (5, 7), (4, 81), (3, 100)):
        logits = 3 * torch.randn(num_rows, num_classes, generator=generator)
        logits = (logits.round() if num_classes == 81 else logits).to(dtype)  # ties
        labels = torch.randint(num_classes, (num_rows,), generator=generator)
        for ignored in (None, int(labels[0])):
            expected = sort_logits(logits, labels, ignored)
            assert torch.equal(sort_cuda.sort_rows(logits, labels, ignored), expected)
        leaf = logits.clone().requires_grad_()
        upstream = torch.randn(logits.shape, generator=generator).to(dtype)
        (gradient,) = torch.autograd.grad(sort_cuda.sort_rows(leaf, labels, None), leaf, upstream)
        (expected,) = torch.autograd.grad(sort_logits(leaf, labels), leaf, upstream)
        assert torch.equal(gradient, expected)

bad = torch.tensor([[1.0, float('nan'), 3.0], [1.0, 2.0, 3.0]])
result = sort_cuda.sort_rows(bad, torch.tensor([0, 9]), None)  # a NaN, a label out of range
assert torch.equal(result.nan_to_num(7.0), bad.nan_to_num(7.0))
assert sort_cuda.sort_rows(bad[:0], torch.zeros(0, dtype=torch.int64), None).shape == (0, 3)

student, target = 3 * torch.randn(2, 6, 81, generator=generator)
labels = torch.randint(81, (6,), generator=generator)
student.requires_grad_()
upstream = torch.randn(6, generator=generator)
for temperature, ignored in ((1.0, None), (4.0, int(labels[2]))):
    fused = sort_cuda.sorted_kl(student, target, labels, temperature, ignored)
    plain = kl_divergence(student, sort_logits(target, labels, ignored), temperature)
    torch.testing.assert_close(fused, plain)
    (gradient,) = torch.autograd.grad(fused, student, upstream)
    torch.testing.assert_close(gradient, torch.autograd.grad(plain, student, upstream)[0])

for num_classes in (2, 7, 81, 100):
    values = 5 * torch.randn(4, num_classes, dtype=torch.float64, generator=generator)
    y = values.sort(dim=1, descending=True).values - torch.arange(num_classes, 0, -1)
    assert torch.equal(rank_cuda.pool(y), _pool(y))
print('agree')
"""


def test_the_triton_kernels_agree_with_plain_torch(run_python):
    pytest.importorskip('triton', reason='Triton comes with CUDA builds of torch')
    done = run_python('-c', INTERPRETED, env={'TRITON_INTERPRET': '1'})
    assert done.stdout.strip().endswith('agree')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('name', ['sort_cuda', 'rank_cuda'])
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


def test_the_environment_can_switch_kernels_off(run_python):
    script = (
        'from sortkd_det.functional.kernels import load_kernels; '
        'print([load_kernels(name) for name in ("sort_cpu", "rank_cpu", "sort_cuda")])'
    )
    off = run_python('-c', script, env={'SORTKD_KERNELS': '0'})
    assert off.stdout.strip() == '[None, None, None]'
