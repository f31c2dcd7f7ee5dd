import io

import pytest
from rich.console import Console

from sortkd_det.studies.progress import RemainingTime, StepProgress, format_duration


def test_remaining_time_is_the_expected_one_before_anything_is_measured():
    assert RemainingTime({'a': 60.0, 'b': 40.0}).seconds() == 100.0


def test_remaining_time_follows_the_machine():
    remaining = RemainingTime({'a': 60.0, 'b': 40.0})
    remaining.measure('a', 0.5, 60.0)  # twice as slow as expected
    assert remaining.seconds() == pytest.approx(2 * (30 + 40))


def test_a_step_is_estimated_from_itself_and_the_others_from_all():
    remaining = RemainingTime({'a': 100.0, 'b': 100.0, 'c': 100.0})
    remaining.measure('a', 1.0, 100.0)
    remaining.measure('b', 0.5, 150.0)
    assert remaining.seconds() == pytest.approx(3 * 50 + 250 / 150 * 100)


def test_what_was_done_before_tells_nothing_of_speed():
    remaining = RemainingTime({'a': 100.0, 'b': 100.0})
    remaining.set_done('a')
    assert remaining.seconds() == 100.0
    remaining.set_done('b', 0.5)
    remaining.measure('b', 0.75, 50.0)  # a quarter in 50 s
    assert remaining.seconds() == pytest.approx(50.0)


def test_a_resumed_step_that_falls_back_gives_no_negative_time():
    remaining = RemainingTime({'a': 100.0})
    remaining.set_done('a', 0.5)
    remaining.measure('a', 0.4, 10.0)
    assert remaining.seconds() == pytest.approx(60.0)


def test_nothing_is_left_at_the_end():
    remaining = RemainingTime({'a': 100.0})
    remaining.measure('a', 1.0, 10.0)
    assert remaining.seconds() == 0


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(0, '0 s'), (89, '89 s'), (91, '2 min'), (3599, '1 h 00 min'), (3900, '1 h 05 min')],
)
def test_durations_are_readable(seconds, text):
    assert format_duration(seconds) == text


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def shown_by(is_terminal: bool) -> str:
    """What a step of 100 s shows that reports every second, after one that is skipped."""
    console = Console(file=io.StringIO(), force_terminal=is_terminal, width=100)
    clock = Clock()
    titles = {'old': 'the old one', 'new': 'the new one'}
    expected = {'old': 100.0, 'new': 50.0}
    with StepProgress(titles, expected, console, interval=20.0, clock=clock) as progress:
        progress.skip('old', 'finished before')
        progress.start('new')
        for clock.now in range(1, 100):
            progress.update('new', clock.now / 100, f'iteration {clock.now}')
        progress.finish('new', 'AP 12.3')
    return console.file.getvalue()


def test_without_a_terminal_there_is_a_line_now_and_then():
    lines = shown_by(is_terminal=False).splitlines()
    assert lines[0] == '[0 s] the old one 100 %; finished before; about 50 s left in all'
    assert lines[2] == '[20 s] the new one  20 %; iteration 20; about 80 s left in all'
    assert lines[-1] == '[2 min] the new one 100 %; AP 12.3; done'
    assert len(lines) == 2 + 4 + 1


def test_on_a_terminal_each_step_has_a_bar():
    shown = shown_by(is_terminal=True)
    assert 'the old one' in shown
    assert 'finished before' in shown
    assert '100%' in shown
    assert 'AP 12.3' in shown
