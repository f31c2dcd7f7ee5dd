"""The one error of a checkpoint that is not used."""


class CheckpointRefused(ValueError):
    """A file is refused: the message is ``file, at place, reason; advice``, one sentence.

    Attributes:
        file: path or address, as the user gave it.
        reason: what is wrong, to be read after the file's name: ``'holds no weights'``.
        place: where inside the file, as ``'meta.epoch'``, or ''.
        advice: what to do, or ''.
    """

    def __init__(self, file: str, reason: str, place: str = '', advice: str = '') -> None:
        super().__init__(file, reason, place, advice)  # what it is copied to other processes with
        self.file, self.reason, self.place, self.advice = file, reason, place, advice

    def __str__(self) -> str:
        place = f', at {self.place},' if self.place else ''
        advice = f'; {self.advice}' if self.advice else ''
        return f'{self.file}{place} {self.reason}{advice}'


def refuse_object(name: str) -> CheckpointRefused:
    """The error of an object that is not let through; who knows file and place adds them."""
    return CheckpointRefused(
        '',
        f'holds {name[:200]}, which is none of the tensors, arrays and plain types that may stand '
        'there, and loading it could run code or fill the memory',
    )
