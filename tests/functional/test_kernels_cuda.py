"""The Triton kernels on a CUDA device, on fresh random cases, and what calls them there."""

import random

import pytest
import torch

from sortkd_det.functional import Sort, soft_rank, sort_logits
from sortkd_det.losses import DKDLoss, KDLoss

pytestmark = pytest.mark.cuda
NARROW = (2, 3, 16, 80, 81, 100, 128, 200)
WIDE = (1000, 1024, 2000, 4096, 4097, 21842)


@pytest.fixture(scope='module')
def cases():
    pytest.importorskip('triton')
    import kernel_cases

    return kernel_cases


@pytest.mark.parametrize('seed', range(12))
@pytest.mark.parametrize('check', ['check_sort', 'check_divergence'])
def test_the_kernels_agree_with_the_cpu(cases, check, seed):
    chooser, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    for widths in (NARROW, NARROW, WIDE):  # the kernels of a width are compiled first
        getattr(cases, check)('cuda', chooser, generator, widths)


def test_soft_ranks_agree_with_the_cpu(cases):
    chooser, generator = random.Random(0), torch.Generator().manual_seed(0)
    for widths in ((2, 7, 50, 100, 128), (1000, 4096)):
        for _ in range(20):
            cases.check_ranks('cuda', chooser, generator, widths)


def test_rows_whose_label_is_no_class_come_back_as_they_are(cases):
    cases.check_sort_out_of_range('cuda')


def random_batch(num_rows=1024, num_classes=81, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    student, target = (3 * torch.randn(2, num_rows, num_classes, generator=generator)).to(dtype)
    labels = torch.randint(num_classes, (num_rows,), generator=generator)
    return student.cuda(), target.cuda(), labels.cuda()


def test_rows_that_begin_at_odd_addresses_are_sorted_alike():
    _, logits, labels = random_batch()
    expected = sort_logits(logits, labels)
    for start in (0, 1, 3, 4):  # rows of 81 float32 numbers begin at multiples of 4 bytes alone
        assert torch.equal(sort_logits(logits[start:], labels[start:]), expected[start:])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_batches_are_sorted_to_the_bit(cases, dtype):
    shapes = [(1, 81), (3, 1000), (1024, 81), (20000, 80), (700, 1000)]
    shapes += [(4096, 81), (8192, 81), (20000, 81), (4096, 82), (20000, 7)]  # several in a warp
    for shape in shapes:
        _, logits, labels = random_batch(*shape, dtype)
        expected = sort_logits(logits.cpu(), labels.cpu())
        assert torch.equal(cases.bits(sort_logits(logits, labels)), cases.bits(expected))


@pytest.mark.parametrize('shape', [(4096, 80), (4096, 81), (20000, 80), (20000, 82)])
@pytest.mark.parametrize('target_dtype', [torch.float16, torch.float32])
@pytest.mark.parametrize('student_dtype', [torch.float16, torch.float32])
def test_losses_of_large_batches_are_those_of_the_cpu(shape, student_dtype, target_dtype):
    student, target, labels = random_batch(*shape)
    student, target = student.to(student_dtype).requires_grad_(), target.to(target_dtype)
    loss = KDLoss()(student, target, labels, rewrite=Sort())
    (gradient,) = torch.autograd.grad(loss, student)
    leaf = student.detach().cpu().double().requires_grad_()
    expected = KDLoss()(leaf, sort_logits(target.cpu(), labels.cpu()).double(), labels.cpu())
    (slope,) = torch.autograd.grad(expected, leaf)
    torch.testing.assert_close(loss.cpu().double(), expected.detach(), rtol=1e-5, atol=0)
    error = (gradient.cpu().double() - slope).norm() / slope.norm()
    assert error < (1e-5 if student_dtype == torch.float32 else 1e-3)


def test_a_gradient_that_is_used_twice_is_the_same_twice():
    student, target, labels = random_batch()
    student.requires_grad_()
    loss = KDLoss()(student, target, labels, rewrite=Sort())
    first, second = (torch.autograd.grad(loss, student, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    (scaled,) = torch.autograd.grad(loss, student, loss.new_tensor(1024.0))
    assert torch.equal(scaled, first * 1024)


@pytest.mark.parametrize('shape', [(1024, 81), (20000, 80)])  # scaled by torch, by the kernel
@pytest.mark.parametrize('upstream', [1.0, 3.0])
def test_a_gradient_is_scaled_in_place_only_where_the_graph_is_not_kept(shape, upstream):
    student, target, labels = random_batch(*shape)
    student.requires_grad_()
    upstream = torch.tensor(upstream, device='cuda')
    loss = KDLoss()(student, target, labels, rewrite=Sort())
    (kept,) = torch.autograd.grad(loss, student, upstream, retain_graph=True)
    copy = kept.clone()
    (last,) = torch.autograd.grad(loss, student, upstream)
    assert torch.equal(kept, copy)
    assert torch.equal(last, copy)


@pytest.mark.parametrize('compiled', [False, True])
@pytest.mark.parametrize('factor', [None, 4096.0, torch.tensor(4096.0)])
def test_small_gradients_survive_in_float16_until_the_scale_reaches_them(factor, compiled):
    student, target, labels = random_batch(4096, 81, torch.float16)
    target = student + 0.01 * target
    student.requires_grad_()
    factor = factor.cuda() if isinstance(factor, torch.Tensor) else factor

    def scaled(student, target):
        return 2**16 * KDLoss()(student, target, labels, None, factor, Sort(80))

    function = torch.compile(scaled, fullgraph=True) if compiled else scaled
    (found,) = torch.autograd.grad(function(student, target), student)
    leaf = student.detach().float().requires_grad_()
    (expected,) = torch.autograd.grad(scaled(leaf, target.float()), leaf)
    large = expected.abs() > 1e-4
    assert large.float().mean() > 0.8
    torch.testing.assert_close(found.float()[large], expected[large], rtol=3e-3, atol=0)
    torch.compiler.reset()


@pytest.mark.parametrize('num_rows', [1, 5, 1023, 1024, 1025])
def test_the_losses_are_added_up_in_one_order_on_any_stream_and_in_graphs(num_rows):
    student, target, labels = random_batch(num_rows)
    loss, streams = KDLoss(), [torch.cuda.Stream() for _ in range(4)]

    def value():
        return loss(student, target, labels, rewrite=Sort())

    expected, found = value(), []
    torch.testing.assert_close(
        expected.cpu(),
        loss(*(x.cpu() for x in (student, sort_logits(target, labels), labels))),
        rtol=1e-5,
        atol=0,
    )
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        captured = value(), value()
    for _ in range(50):
        for stream in streams:  # side by side, and beside the graph
            with torch.cuda.stream(stream):
                found.append(value())
        graph.replay()
        found.extend(number.clone() for number in captured)
    torch.cuda.synchronize()
    assert {float(number) for number in found} == {float(expected)}


@pytest.mark.parametrize(
    ('loss', 'activation'),
    [
        pytest.param(KDLoss(4.0), 'softmax'),
        pytest.param(KDLoss([1, 2, 6]), 'softmax'),
        pytest.param(DKDLoss(beta=8.0, temperature=2), 'softmax'),
        pytest.param(KDLoss(4.0), 'sigmoid'),
        pytest.param(KDLoss([1, 2, 6]), 'sigmoid'),
    ],
)
def test_a_loss_is_the_same_with_the_kernel_and_without(loss, activation, monkeypatch):
    student, target, labels = random_batch()
    student.requires_grad_()
    weight = torch.rand(len(student), device='cuda')
    found = []
    for works in (True, False):
        if not works:
            monkeypatch.setattr('sortkd_det.functional.fused._kernel_works', lambda: False)
        value = loss(student, target, labels, weight, 3.0, Sort(80), activation)
        found.append((value.detach(), *torch.autograd.grad(value, student)))
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('loss', [KDLoss(4.0), DKDLoss(beta=8.0, temperature=2)])
def test_a_compiled_loss_keeps_the_kernel(loss):
    torch.compiler.reset()
    student, target, labels = random_batch()
    student.requires_grad_()

    def whole(student, target, labels):
        return 2 * loss(student * 1.5, target, labels, rewrite=Sort())

    expected = whole(student, target, labels)
    value = torch.compile(whole, fullgraph=True)(student, target, labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(
        torch.autograd.grad(value, student), torch.autograd.grad(expected, student)
    )
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        torch.compile(whole, fullgraph=True)(student, target, labels)
        torch.cuda.synchronize()
    assert any('_divergence_kernel' in event.key for event in profile.key_averages())
    torch.compiler.reset()


def test_a_compiled_sort_keeps_the_kernel_and_its_gradient():
    torch.compiler.reset()
    logits, _, labels = random_batch()
    logits.requires_grad_()
    compiled = torch.compile(lambda x, y: sort_logits(x * 1.0, y), fullgraph=True)
    assert torch.equal(compiled(logits, labels), sort_logits(logits, labels))
    upstream = torch.randn_like(logits)
    (found,) = torch.autograd.grad(compiled(logits, labels), logits, upstream)
    (expected,) = torch.autograd.grad(sort_logits(logits, labels), logits, upstream)
    assert torch.equal(found, expected)
    torch.compiler.reset()


def test_nothing_makes_the_host_wait():
    student, target, labels = random_batch()
    student.requires_grad_()
    for _ in range(2):
        KDLoss()(student, target, labels, rewrite=Sort(80)).backward()
        soft_rank(student, 1.0).sum().backward()
        torch.cuda.set_sync_debug_mode('error')
    torch.cuda.set_sync_debug_mode('default')
