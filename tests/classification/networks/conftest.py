import pytest
import torch
from any_network import network


@pytest.fixture
def small():
    """A network of 10 classes that is quick to run."""
    torch.manual_seed(0)
    return network('cifar/resnet8', num_classes=10)
