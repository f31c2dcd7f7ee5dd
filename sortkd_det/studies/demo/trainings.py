"""What the demo trains: a teacher, and students of which two are taught by it."""

from dataclasses import dataclass

_TAUGHT = {
    # On all places, those of background too: with few labels the teacher's doubts are most of
    # what there is to learn (docs/results.md).
    'custom_hooks.0.adapter.type': 'DenseHeadAdapter',
    'custom_hooks.0.adapter.negatives': 'all',
    # Images that the teacher is tested on beforehand, and iterations between two looks at it.
    'check_teacher': 100,
    'audit.interval': 25,
}


@dataclass(frozen=True)
class Training:
    """One training of the demo.

    Attributes:
        name: of its folder and of its entry in the results.
        title: what tables and figures call it.
        config: path within the repository.
        seconds_per_iteration: about, on two CPU cores; what remains is first
            estimated with it, and then with what was measured.
        method: by which the demo's teacher teaches it, or None.
    """

    name: str
    title: str
    config: str
    seconds_per_iteration: float
    method: str | None = None

    @property
    def flags(self) -> dict[str, str]:
        """The flags of ``tools/train.py`` beside the config, but for the teacher's weights."""
        return dict(teacher=TEACHER.config, method=self.method) if self.method else {}

    @property
    def options(self) -> dict[str, int | str]:
        """What the run says to ``--cfg-options``."""
        return _TAUGHT if self.method else {}


TEACHER = Training('teacher', 'teacher', 'configs/toy/gfl_teacher.py', 0.17)
_STUDENT = 'configs/toy/gfl_student.py'
TRAININGS = (
    TEACHER,
    Training('student', 'student alone', _STUDENT, 0.12),
    Training('kd', 'KD', _STUDENT, 0.17, method='kd'),
    Training('sortkd', 'SortKD', _STUDENT, 0.17, method='sortkd'),
)
