"""Checkpoints that are not what they should be, for the tests of what reads them."""

import pytest
import torch

zip_and_legacy = pytest.mark.parametrize('as_zip', [True, False], ids=['zip', 'legacy'])


class Call:
    """Calls ``function(*arguments)`` when it is unpickled."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def save(content, path, as_zip=True):
    """Write a checkpoint in torch's present format, or in the old one; returns its path."""
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    return path
