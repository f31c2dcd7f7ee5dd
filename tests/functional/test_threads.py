import os
import threading

import pytest
import torch

from sortkd_det.functional import threads
from sortkd_det.functional.threads import split_rows

PARTS = threads._PARTS_A_THREAD


@pytest.fixture(params=[1, 2, 3, 5])
def num_threads(request):
    """As many threads as torch may use for itself."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def mark(rows, marks, by=1):
    """A kernel: adds ``by`` to the marks of its rows; returns the rows' first column."""
    assert len(rows) == len(marks)
    marks += by
    return rows[:, 0].tolist()


@pytest.mark.parametrize('num_rows', [0, 1, 2, 7, 64, 65])
def test_each_row_is_given_once_and_results_come_in_order(num_threads, num_rows):
    rows = torch.arange(4.0 * num_rows).view(num_rows, 4)
    marks = torch.zeros(num_rows, 3, dtype=torch.int64)
    results = split_rows(mark, (rows, marks), (), worth=1)
    assert torch.equal(marks, torch.ones_like(marks))
    assert [value for _, part in results for value in part] == rows[:, 0].tolist()
    for first, part in results:
        assert part == rows[first : first + len(part), 0].tolist()


def test_parts_are_of_nearly_equal_size_and_several_a_thread(num_threads):
    rows = torch.zeros(64, 4)
    results = split_rows(mark, (rows, rows.clone()), (), worth=1)
    sizes = [len(part) for _, part in results]
    assert len(sizes) == (num_threads * PARTS if num_threads > 1 else 1)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(('worth', 'expected'), [(1000, 1), (256, 1), (128, 2), (100, 2), (85, 3)])
def test_a_thread_more_is_started_for_every_so_many_numbers(worth, expected):
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    try:
        results = split_rows(mark, (torch.zeros(64, 4), torch.zeros(64)), (), worth)
    finally:
        torch.set_num_threads(before)
    assert len(results) == (expected * PARTS if expected > 1 else 1)


def test_there_is_no_more_than_a_part_a_row(num_threads):
    results = split_rows(mark, (torch.zeros(2, 1000), torch.zeros(2)), (), worth=1)
    assert [first for first, _ in results] == ([0, 1] if num_threads > 1 else [0])


def test_arguments_reach_every_part(num_threads):
    marks = torch.zeros(9)
    split_rows(mark, (torch.zeros(9, 4), marks), (5,), worth=1)
    assert torch.equal(marks, torch.full((9,), 5.0))


def test_parts_run_side_by_side():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    both_there = threading.Barrier(2, timeout=30)  # raises where one part waits for the other
    try:
        results = split_rows(lambda rows: both_there.wait(), (torch.zeros(2, 4),), (), worth=1)
    finally:
        torch.set_num_threads(before)
    assert sorted(place for _, place in results) == [0, 1]


@pytest.mark.parametrize('row', [0, 8])
def test_the_exception_of_any_part_is_raised_and_the_next_call_works(num_threads, row):
    def fail(rows):
        if row in rows[:, 0]:
            raise RuntimeError(f'row {row}')
        return len(rows)

    rows = torch.arange(9.0)[:, None]
    with pytest.raises(RuntimeError, match=f'row {row}'):
        split_rows(fail, (rows,), (), worth=1)
    assert sum(count for _, count in split_rows(len, (rows,), (), worth=1)) == 9


FORK = """
import os, signal, torch
from sortkd_det.functional.threads import split_rows

def kernel(rows):
    rows += 1
    return os.getpid()

torch.set_num_threads(3)
numbers = torch.zeros(9, 4)
assert len(split_rows(kernel, (numbers,), (), 1)) == 9
child = os.fork()
if child == 0:
    signal.alarm(30)  # threads that are not there would be waited for without end
    owners = {owner for _, owner in split_rows(kernel, (numbers,), (), 1)}
    os._exit(0 if owners == {os.getpid()} and bool((numbers == 2).all()) else 3)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert status == 0, f'the child exited {status}'
assert len(split_rows(kernel, (numbers,), (), 1)) == 9
assert bool((numbers == 2).all())
"""


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='no fork on this system')
def test_it_works_in_a_forked_process_and_still_in_its_parent(run_python):
    run_python('-c', FORK)
