"""Small images, folders of them, and damage to the files."""

import random

import numpy as np
from PIL import Image

RGB = (200, 100, 50)


def plain(height=20, width=30) -> np.ndarray:
    return np.full((height, width, 3), RGB, np.uint8)


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    if mode == 'P':
        image = image.quantize()
    elif mode:
        image = image.convert(mode)
    image.save(path, **options)
    return path


CLASSES = ('ant', 'bee', 'cat')


def noise_image(label: int, number: int, shape=(40, 50)) -> np.ndarray:
    rng = np.random.default_rng((label, number))
    return rng.integers(0, 256, (*shape, 3), dtype=np.uint8)


def make_folder(root, splits=('train', 'val'), classes=CLASSES, per_class=3):
    for split in splits:
        for label, name in enumerate(classes):
            (root / split / name).mkdir(parents=True)
            for number in range(per_class):
                save(root / split / name / f'{number}.png', noise_image(label, number))
    return root


def make_tiny_imagenet(root, classes=('n02', 'n01'), per_class=2):
    (root / 'val' / 'images').mkdir(parents=True)
    (root / 'wnids.txt').write_text(''.join(f'{name}\n' for name in classes))
    lines = []
    for label, name in enumerate(sorted(classes)):
        (root / 'train' / name / 'images').mkdir(parents=True)
        (root / 'train' / name / f'{name}_boxes.txt').write_text('boxes')
        for number in range(per_class):
            image = noise_image(label, number, (64, 64))
            save(root / 'train' / name / 'images' / f'{name}_{number}.JPEG', image)
            save(root / 'val' / 'images' / f'val_{label}{number}.JPEG', image)
            lines.append(f'val_{label}{number}.JPEG\t{name}\t0\t0\t9\t9\n')
    (root / 'val' / 'val_annotations.txt').write_text(''.join(lines[::-1]))
    return root


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Cut off, or with a few bits flipped, bytes dropped or repeated; most near the start."""
    if rng.random() < 0.2:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        place = rng.randrange(min(len(changed), rng.choice([60, 600, len(changed)])))
        action = rng.random()
        if action < 0.7:
            changed[place] ^= 1 << rng.randrange(8)
        elif action < 0.85:
            del changed[place : place + rng.randint(1, 4)]
        else:
            changed[place:place] = changed[place : place + rng.randint(1, 4)]
    return bytes(changed)


def read_or_refused(read):
    """What ``read()`` gives, or what our error says; any other exception is a failure."""
    try:
        return read(), ''
    except (ValueError, FileNotFoundError) as error:
        return None, str(error)
