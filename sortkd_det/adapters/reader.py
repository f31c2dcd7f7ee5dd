"""What sees a student's logits pass by."""

from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from .adapter import Adapter


class Reader:
    """Sees parts of a student run, and keeps what it saw until it is told to forget it.

    Args:
        parts: readers that it is made of.
    """

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def attach(self) -> list[RemovableHandle]:
        """Register the hooks on the student."""
        return [handle for part in self.parts for handle in part.attach()]

    def reset(self) -> None:
        """Forget the last batch; called before each forward, with gradients on or off as it is."""
        for part in self.parts:
            part.reset()


class Outputs(list[Any]):
    """What a module returns in one forward of a model, call by call.

    Args:
        module: a head, a neck, or a loss.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def attach(self) -> list[RemovableHandle]:
        """Register the hook on the module."""
        return [Adapter.watch_output(self.module, self.append)]

    def reset(self) -> None:
        """Forget what was returned; called before each forward."""
        self.clear()
