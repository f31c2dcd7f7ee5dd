import pytest
import torch
from torch import nn

from sortkd_det.distill.fold_norms import fold_norms


def norm_of(channels):
    """A batch norm that changes what it is given."""
    norm = nn.BatchNorm2d(channels)
    for parameter, low in ((norm.weight, 0.5), (norm.bias, -1), (norm.running_mean, -1)):
        nn.init.uniform_(parameter, low, 2)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    return norm


class Network(nn.Module):
    """Two convolutions and two norms, wired as the test says; registered in one order."""

    def __init__(self, wire, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), norm_of(4)
            self.conv2, self.norm2 = nn.Conv2d(4, 4, 1, bias=False), norm_of(4)
        self.wire = wire

    def forward(self, x):
        return self.wire(self, x)


def stacked(net, x):
    return net.norm2(net.conv2(net.norm(net.conv(x)).relu_()))


def before_activation(net, x):  # registered as in `stacked`, and run the other way round
    return net.conv2(net.norm2(net.conv(net.norm(x)).relu()))


def crossed(net, x):
    return net.norm(net.conv2(x)) + net.norm2(net.conv(x))


def shared(net, x):  # a convolution for two levels with a norm each, as RetinaNet-SepBN has it
    return net.norm(net.conv(x)) + net.norm2(net.conv(x[..., ::2].repeat(1, 1, 1, 2)))


def shared_norm(net, x):
    return net.norm(net.conv(x)) + net.norm(net.conv2(x))


@pytest.mark.parametrize(
    ('wire', 'expected'),
    [(stacked, 2), (before_activation, 0), (crossed, 2), (shared, 0), (shared_norm, 0)],
)
def test_norms_are_folded_into_what_they_follow_when_it_runs(wire, expected):
    net = Network(wire).eval()
    x = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    reference = net(x)
    assert fold_norms(net, lambda: [net(x[:1])]) == expected
    assert sum(isinstance(m, nn.Identity) for m in net.modules()) == expected
    torch.testing.assert_close(net(x), reference, rtol=1e-5, atol=1e-5)


def test_a_convolution_whose_result_is_read_elsewhere_is_refused():
    def read_twice(net, x):
        y = net.conv(x)
        return net.norm(y) + y

    net = Network(read_twice).eval()
    with pytest.raises(ValueError, match=r'Network cannot be folded: .* move by .*fuse_conv_bn'):
        fold_norms(net, lambda: net(torch.ones(1, 4, 6, 6)))


def test_norms_that_learn_and_convolutions_of_another_kind_stay():
    class Standardized(nn.Conv2d):
        def forward(self, x):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return nn.functional.conv2d(x, weight, self.bias, padding=self.padding)

    net = Network(stacked).eval()
    net.conv, net.norm2.training = Standardized(4, 4, 3, padding=1), True
    x = torch.randn(2, 4, 6, 6)
    assert fold_norms(net, lambda: net(x)) == 0
