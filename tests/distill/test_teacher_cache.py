"""A teacher's logits in a file: the same to the bit, and never another's."""

import os
import sqlite3
import subprocess
import sys

import pytest
import torch

from sortkd_det.distill import Teacher, TeacherCache
from sortkd_det.distill import teacher_cache as module

PREPROCESSOR = {'type': 'ImagePreprocessor', 'mean': (0.5, 0.4, 0.3), 'std': (0.2, 0.3, 0.25)}


@pytest.fixture
def make_teacher(teacher_weights):
    import sortkd_det.classification  # noqa: F401

    def make(weights=teacher_weights, network='cifar/resnet14', **options):
        model = {'type': network, 'num_classes': 3, 'data_preprocessor': PREPROCESSOR}
        return Teacher({'default_scope': 'sortkd_det', 'model': model}, str(weights), **options)

    return make


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'logits.sqlite'


def batches(number=3, size=4):
    return list(torch.randn(number, size, 3, 20, 20, generator=torch.Generator().manual_seed(0)))


def counts(cache):
    return cache.found, cache.computed


def filled(path, teacher, images):
    cache = TeacherCache(path, teacher)
    logits = [cache(batch) for batch in images]
    cache.close()
    return logits


@pytest.mark.parametrize('device', ['cpu', pytest.param('cuda', marks=pytest.mark.cuda)])
def test_what_one_run_computed_another_reads_to_the_bit(make_teacher, path, device):
    device = torch.device(device)
    teacher, images = make_teacher().to(device), [batch.to(device) for batch in batches()]
    expected = [teacher.model(batch, mode='tensor') for batch in images]
    for found in (0, 3):
        cache = TeacherCache(path, make_teacher().to(device))
        for batch, logits in zip(images, expected, strict=True):
            kept = cache(batch)
            assert torch.equal(kept, logits)
            kept.zero_()  # nobody else's memory
        assert counts(cache) == (found, 3 - found)
        cache.close()
    assert '3 batches were read' in cache.summary()


def test_the_teacher_is_run_on_the_first_batch_that_is_read_and_on_no_other(make_teacher, path):
    filled(path, make_teacher(), batches())
    teacher = make_teacher()
    seen, logits = [], teacher.model.logits
    teacher.model.logits = lambda images: seen.append(images) or logits(images)
    filled(path, teacher, batches())
    assert len(seen) == 1


@pytest.mark.parametrize(
    'change',
    [
        pytest.param(lambda images: images.flip(0), id='order'),
        pytest.param(lambda images: images[:3], id='size'),
        pytest.param(lambda images: images.flip(3), id='augmentation'),
        pytest.param(lambda images: images.nextafter(images + 1), id='the last bit'),
        pytest.param(lambda images: images.to(memory_format=torch.channels_last), id='memory'),
    ],
)
def test_another_batch_is_computed(make_teacher, path, change):
    teacher, (images,) = make_teacher(), batches(1)
    filled(path, teacher, [images])
    cache = TeacherCache(path, teacher)
    other = change(images)
    assert torch.equal(cache(other), teacher.model(other, mode='tensor'))
    assert counts(cache) == (0, 1)


def test_another_teacher_precision_or_number_of_threads_is_computed(make_teacher, path, tmp_path):
    (images,) = batches(1)
    filled(path, make_teacher(), [images])
    state = torch.load(make_teacher().checkpoint)['model']
    state['fc.bias'] += 2**-20
    torch.save({'model': state}, tmp_path / 'other.pth')
    for teacher in (make_teacher(tmp_path / 'other.pth'), make_teacher(dtype='bfloat16')):
        cache = TeacherCache(path, teacher)
        logits = cache(images)
        assert counts(cache) == (0, 1)
        assert torch.equal(cache(images), logits)
        assert counts(cache) == (1, 1)
        assert cache(images).dtype == logits.dtype
    cache = TeacherCache(path, make_teacher())
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert cache(images).dtype == torch.bfloat16
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    cache(images)
    torch.set_num_threads(threads)
    assert counts(cache) == (0, 2)


def test_other_code_under_the_same_name_is_found_out(make_teacher, path):
    images = batches()
    filled(path, make_teacher(), images)
    teacher = make_teacher()
    logits = teacher.model.logits
    teacher.model.logits = lambda images: logits(images) * 2
    cache = TeacherCache(path, teacher)
    for batch in images:
        assert torch.equal(cache(batch), teacher.model(batch, mode='tensor'))
    assert counts(cache) == (0, 3)


def test_a_teacher_that_draws_random_numbers_is_refused_by_name(make_teacher, path):
    teacher = make_teacher()
    logits = teacher.model.logits
    teacher.model.logits = lambda images: logits(images) + torch.rand(3)
    with pytest.raises(ValueError, match=r'resnet14, draws random numbers .*--share-teacher'):
        TeacherCache(path, teacher)(batches()[0])


def test_damaged_entries_are_computed_anew(make_teacher, path):
    teacher, images = make_teacher(), batches()
    expected = filled(path, teacher, images)
    with sqlite3.connect(path) as file:
        file.execute("UPDATE logits SET data = CAST(x'00' || substr(data, 2) AS BLOB)")
        file.execute('UPDATE logits SET data = 7 WHERE rowid = 2')
    for found in (0, 3):
        cache = TeacherCache(path, teacher)
        assert all(map(torch.equal, [cache(batch) for batch in images], expected))
        assert counts(cache) == (found, 3 - found)


@pytest.mark.parametrize('share', [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_was_cut_off_gives_nothing_wrong(make_teacher, path, share):
    teacher, images = make_teacher(), batches(40)
    expected = filled(path, teacher, images)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    cache = TeacherCache(path, teacher)
    assert all(map(torch.equal, [cache(batch) for batch in images], expected))
    assert path.stat().st_size <= len(content)


def test_flipped_bits_give_nothing_wrong(make_teacher, path):
    teacher, images = make_teacher(), batches(10)
    expected = filled(path, teacher, images)
    content = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in torch.randint(100, len(content), (8,), generator=generator).tolist():
            damaged[place] ^= 1 << int(torch.randint(8, (), generator=generator))
        path.write_bytes(damaged)
        cache = TeacherCache(path, teacher)
        assert all(map(torch.equal, [cache(batch) for batch in images], expected))
        cache.close()


@pytest.mark.parametrize('content', [b'', b'a checkpoint, say' * 100, None])
def test_only_its_own_files_are_written(make_teacher, path, content):
    teacher = make_teacher()
    if content is None:
        with sqlite3.connect(path) as file:
            file.execute('CREATE TABLE others (x)')
        content = path.read_bytes()
    else:
        path.write_bytes(content)
    if not content:  # as a kill may leave it
        assert counts_after(path, teacher) == (0, 3)
        return
    with pytest.raises(ValueError, match=r'is no file of logits that this package wrote'):
        TeacherCache(path, teacher)
    assert path.read_bytes() == content


def counts_after(path, teacher):
    cache = TeacherCache(path, teacher)
    for batch in batches():
        cache(batch)
    return counts(cache)


def test_a_disk_that_is_nearly_full_is_left_to_others(make_teacher, path, monkeypatch):
    teacher = make_teacher()
    monkeypatch.setattr(module, '_RESERVE', 2**62)
    assert counts_after(path, teacher) == (0, 3)
    monkeypatch.undo()
    assert counts_after(path, teacher) == (0, 3)
    assert counts_after(path, teacher) == (3, 0)


WRITER = """
import sys, torch
import sortkd_det.classification
from sortkd_det.distill import Teacher, TeacherCache
weights, path, kind, number = sys.argv[1:]
torch.set_num_threads(1)
model = dict(type=kind, num_classes=3, data_preprocessor=dict(
    type='ImagePreprocessor', mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25)))
cache = TeacherCache(path, Teacher(dict(default_scope='sortkd_det', model=model), weights))
print('ready', flush=True)
sys.stdin.readline()
for batch in torch.randn(int(number), 4, 3, 20, 20, generator=torch.Generator().manual_seed(0)):
    cache(batch)
print(cache.found + cache.computed, flush=True)
"""


@pytest.mark.parametrize('is_killed', [False, True])
def test_several_processes_write_one_file_and_may_be_killed(make_teacher, path, is_killed):
    number, teacher = 60, make_teacher()
    command = [sys.executable, '-c', WRITER, teacher.checkpoint, path, 'cifar/resnet14', number]
    writers = [
        subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )
        for _ in range(3)
    ]  # fmt: skip
    for writer in writers:
        assert 'ready\n' in iter(writer.stdout.readline, '')
    for writer in writers:
        writer.stdin.write('\n')
        writer.stdin.flush()
    if is_killed:
        while not path.stat().st_size > 20_000:
            pass
        writers[0].kill()
    ends = [writer.communicate()[0] for writer in writers]
    assert ends[is_killed:] == [f'{number}\n'] * (3 - is_killed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cache = TeacherCache(path, teacher)
    for batch in batches(number):
        assert torch.equal(cache(batch), teacher.model(batch, mode='tensor'))
    torch.set_num_threads(threads)
    assert counts(cache) == (number, 0)
