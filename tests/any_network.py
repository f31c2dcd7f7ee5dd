"""Networks of classifiers by their names, and images for them."""

import torch

import sortkd_det.classification.networks  # noqa: F401
from sortkd_det.registry import MODELS


def network(name, **arguments):
    return MODELS.build({'type': f'sortkd_det.{name}', **arguments})


def shapes_of(name, **arguments):
    """(name, shape) of each entry of the state dict, and the number of parameters."""
    with torch.device('meta'):
        model = network(name, **arguments)
    entries = [[key, list(value.shape)] for key, value in model.state_dict().items()]
    return entries, sum(parameter.numel() for parameter in model.parameters())


def images(batch_size=2, height=32, width=None):
    generator = torch.Generator().manual_seed(21)
    return torch.randn(batch_size, 3, height, width or height, generator=generator)
