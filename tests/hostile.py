"""What tests of files from strangers share: calls in pickles, and mutations of whole files."""

import collections
import time

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


class Call:
    """Calls ``function(*arguments)`` when it is unpickled."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


flips = st.tuples(st.integers(0, 2**16), st.integers(0, 7))


splices = st.tuples(st.integers(0, 2**16), st.integers(0, 4), st.binary(max_size=4))


mutations = st.tuples(
    st.lists(flips | splices, max_size=6), st.none() | st.none() | st.integers(0, 2**16)
)


def mutate(content, mutation):
    """Flip bits, replace, drop and insert bytes, perhaps cut off; places wrap around."""
    edits, cut = mutation
    changed = bytearray(content)
    for place, *change in edits:
        place %= len(changed) or 1
        if len(change) == 2:
            changed[place : place + change[0]] = change[1]
        elif changed:
            changed[place] ^= 1 << change[0]
    return bytes(changed if cut is None else changed[: cut % len(content)])


def read_mutations(read, whole, number, path, capsys, record_property):
    """Let ``read`` have that many mutations at least; count those read and refused, print it."""
    counts, slowest = collections.Counter(), 0.0

    @settings(
        max_examples=number * 5 // 4, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(mutations)
    def attempt(mutation):
        nonlocal slowest
        content = mutate(whole, mutation)
        counts['same' if content == whole else 'mutated'] += 1
        start = time.process_time()
        try:
            read(content)
            counts['read'] += 1
        except (ValueError, FileNotFoundError) as error:
            counts['refused' if str(path) in str(error) else f'not named: {error}'] += 1
        slowest = max(slowest, time.process_time() - start)

    attempt()
    assert set(counts) <= {'same', 'mutated', 'read', 'refused'}
    assert counts['mutated'] >= number
    assert counts['refused'] >= 0.2 * number
    assert slowest < 5
    record_property('mutations', counts['mutated'])
    with capsys.disabled():
        print(f'\n{path.name}: {dict(counts)}, the slowest in {slowest:.2f} s')


def touch(value):
    """Read every number of a checkpoint."""
    if isinstance(value, torch.Tensor):
        value.clone()
    elif isinstance(value, dict | list | tuple | set):
        for item in value.values() if isinstance(value, dict) else value:
            touch(item)


few_or_many = pytest.mark.parametrize(
    'number', [100, pytest.param(1000, marks=pytest.mark.slow)], ids=['few', 'many']
)
