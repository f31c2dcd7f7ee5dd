"""Every figure of the methods' authors' own code, from methods written as configs of terms."""

import numpy as np
import pytest
import torch

from sortkd_det.distill import LogitBatch, Method
from sortkd_det.functional import ranks, soft_rank
from sortkd_det.registry import LOGIT_PROCESSORS, build

SORT, SWAP, STANDARDIZE = ['SortLogits'], ['SwapLogits'], ['StandardizeLogits']
BOTH_STANDARDIZED = dict(processors=STANDARDIZE, student_processors=STANDARDIZE)
SORTED_STANDARD = dict(processors=STANDARDIZE + SORT, student_processors=STANDARDIZE)

PROCESSORS = {'sort': SORT, 'swap': SWAP, 'standardize': STANDARDIZE}
INPUTS = {'teacher', 'student', 'labels'}

# Name of the figure: the method's terms.
METHODS = {
    'ttm_gamma0.25': [dict(loss=dict(type='TTMLoss', gamma=0.25))],
    'wttm_gamma0.25': [dict(loss=dict(type='TTMLoss', gamma=0.25, weighted=True))],
    'mlkd_class_gram_T4': [dict(loss=dict(type='ClassGramLoss', temperature=4))],
    'mlkd_batch_gram_T4': [dict(loss=dict(type='BatchGramLoss', temperature=4))],
}
for t in (1, 4):
    kd = dict(type='KDLoss', temperature=t)
    dkd = dict(type='DKDLoss', alpha=1, beta=8, temperature=t)
    dkd_for_coco = dict(type='DKDLoss', alpha=1, beta=0.25, temperature=t)
    dist = dict(type='DISTLoss', beta=1, gamma=0.5, temperature=t)
    METHODS |= {
        f'kd_T{t}': [dict(loss=kd)],
        f'kd_sort_T{t}': [dict(loss=kd, processors=SORT)],
        f'dkd_a1_b8_T{t}': [dict(loss=dkd)],
        f'dkd_sort_a1_b8_T{t}': [dict(loss=dkd, processors=SORT)],
        f'dkd_a1_b0.25_T{t}': [dict(loss=dkd_for_coco)],
        f'lskd_T{t}': [dict(loss=kd, **BOTH_STANDARDIZED)],
        f'lskd_sort_T{t}': [dict(loss=kd, **SORTED_STANDARD)],
        f'lskd_dkd_a1_b8_T{t}': [dict(loss=dkd, **BOTH_STANDARDIZED)],
        f'dist_beta1_gamma0.5_T{t}': [dict(loss=dist)],
    }
for t in (1, 2):
    nkd = dict(type='NKDLoss', gamma=1.5, temperature=t)
    METHODS[f'nkd_gamma1.5_T{t}'] = [dict(loss=nkd)]

# Those with a schedule: the epoch stands in the name, or follows from λ there.
SCHEDULED = {}
for t in (1, 4):
    kd = dict(type='KDLoss', temperature=t)
    SLD = [
        dict(loss=kd, processors=SWAP),
        dict(loss=kd, target='student', processors=SWAP, begin=151),
    ]
    SCHEDULED |= {f'sld_epoch100_T{t}': (SLD, 100), f'sld_epoch151_T{t}': (SLD, 151)}
LEARNABLE = dict(type='LearnableTemperature', start=1, span=20, ramp=10)
CTKD = [dict(loss=dict(type='KDLoss', temperature=LEARNABLE))]
CTKD_EPOCHS = {-0.5: 5, -1: 10}
SCHEDULED |= {f'ctkd_theta1_lambda{k}': (CTKD, epoch) for k, epoch in CTKD_EPOCHS.items()}

# In float64.
RANKINGS = {
    f'ranking_{distance}_eps1': [dict(loss=dict(type='RankingLoss', distance=distance, strength=1))]
    for distance in ('l2', 'l1')
}
SOFT_RANKS = {f'soft_rank_eps{strength}': strength for strength in (0.1, 1, 10)}

batches = pytest.mark.parametrize('batch', [0, 1, 2])


@pytest.fixture(params=['kernel', 'torch'])
def rank_path(request, monkeypatch):
    """Both ways to compute soft ranks."""
    if request.param == 'kernel':
        pytest.importorskip('numba')
    else:
        monkeypatch.setattr(ranks, 'load_kernels', lambda name: None)


def run(terms, figures, batch, now=1, dtype=torch.float32):
    """Loss, its gradient for the student's logits, and the method."""
    student, teacher = (figures(batch, name).to(dtype) for name in ('student', 'teacher'))
    weight = torch.ones(len(student))
    labels, head = figures(batch, 'labels'), {'activation': 'softmax', 'background': None}
    batch = LogitBatch(student.requires_grad_(), teacher, labels, weight, **head)
    method = Method(terms)
    loss = sum(method(batch, now).values())
    loss.backward()
    return loss.detach(), student.grad, method


def relative_error(result, expected):
    return float((result.double() - expected.double()).norm() / expected.double().norm())


def test_every_figure_of_the_file_is_compared_with(figures):
    losses = {*METHODS, *SCHEDULED, *RANKINGS}
    gradients = {f'{name}_grad' for name in losses}
    theta_gradients = {f'{name}_theta_grad' for name in losses if name.startswith('ctkd')}
    compared = {*PROCESSORS, *losses, *gradients, *theta_gradients, *SOFT_RANKS}
    assert figures.names == INPUTS | compared


@batches
@pytest.mark.parametrize('name', PROCESSORS)
def test_processed_logits_equal_the_authors(figures, batch, name):
    (processor,) = (build(LOGIT_PROCESSORS, config, 'processor') for config in PROCESSORS[name])
    result = processor(figures(batch, 'teacher'), figures(batch, 'labels'))
    assert result.dtype == torch.float32
    if name == 'standardize':  # arithmetic, where the others only move numbers
        assert relative_error(result, figures(batch, name)) < 1e-6
    else:
        assert torch.equal(result, figures(batch, name))


@batches
@pytest.mark.parametrize('name', [*METHODS, *SCHEDULED])
def test_values_and_gradients_equal_the_authors(figures, batch, name):
    terms, now = SCHEDULED.get(name) or (METHODS[name], 1)
    loss, gradient, _ = run(terms, figures, batch, now)
    assert loss.dtype == torch.float32
    assert relative_error(loss, figures(batch, name)) < 1e-5
    assert relative_error(gradient, figures(batch, f'{name}_grad')) < 1e-5


@batches
@pytest.mark.parametrize('name', RANKINGS)
def test_rankings_equal_the_authors_in_double_precision(figures, batch, name, rank_path):
    loss, gradient, _ = run(RANKINGS[name], figures, batch, dtype=torch.float64)
    assert loss.dtype == torch.float64
    assert relative_error(loss, figures(batch, name)) < 1e-9
    assert relative_error(gradient, figures(batch, f'{name}_grad')) < 1e-9


@batches
@pytest.mark.parametrize('name', SOFT_RANKS)
def test_soft_ranks_equal_the_authors_in_double_precision(figures, batch, name, rank_path):
    result = soft_rank(figures(batch, 'teacher').double(), SOFT_RANKS[name])
    assert relative_error(result, figures(batch, name)) < 1e-9


def complex_step_gradient(student, target, theta):
    """dKD/dθ at T = 1 + 20·sigmoid(θ), exact in float64: the imaginary part of f(θ + ih) / h."""
    step = 1e-30

    def log_softmax(logits, temperature):
        scaled = logits / temperature
        return scaled - np.log(np.exp(scaled).sum(1, keepdims=True))

    temperature = 1 + 20 / (1 + np.exp(-(theta + 1j * step)))
    log_s, log_t = log_softmax(student, temperature), log_softmax(target, temperature)
    divergence = (np.exp(log_t) * (log_t - log_s)).sum(1) * temperature**2
    return divergence.mean().imag / step


@batches
@pytest.mark.parametrize('reversal', CTKD_EPOCHS)
def test_what_reaches_the_learned_temperature_is_exact(figures, batch, reversal):
    name = f'ctkd_theta1_lambda{reversal}'
    _, _, method = run(CTKD, figures, batch, CTKD_EPOCHS[reversal])
    result = method.terms[0].loss.temperature.theta.grad
    student, teacher = (figures(batch, side).double().numpy() for side in ('student', 'teacher'))
    expected = torch.tensor(reversal * complex_step_gradient(student, teacher, 1.0))
    assert relative_error(result, expected) < 1e-5
    # The figure is a small difference of large numbers in float32: it is itself up to 0.9%
    # away from the value in float64.
    figure = figures(batch, f'{name}_theta_grad').squeeze()
    assert relative_error(result, figure) < 1e-2
