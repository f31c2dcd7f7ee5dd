"""What sees a student's logits pass by."""

from typing import Any

from torch.utils.hooks import RemovableHandle


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
