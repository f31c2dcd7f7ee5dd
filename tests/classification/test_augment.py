"""Augmentation of batches: laws, and Pillow's results where it has the same operation."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from sortkd_det.classification.augment import (
    crop_flip,
    crop_flip_normalize,
    normalize,
    strong,
    strong_view,
    uniform,
    weak,
)

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.25])


NOISE_KERNELS = 'sortkd_det.classification.augment.noise.load_kernels'


def random_images(num=8, height=32, width=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (num, 3, height, width), generator=generator, dtype=torch.uint8)


def smooth_images(num=4, side=32):
    """Images of few grey levels and soft edges, as photographs have."""
    small = random_images(num, side // 8, side // 8).float()
    large = torch.nn.functional.interpolate(small, size=(side, side), mode='bicubic')
    return large.clamp(0, 255).round().to(torch.uint8)


# -- random numbers ----------------------------------------------------------


def test_noise_is_a_function_of_seed_epoch_index_and_stream_alone():
    indices = torch.tensor([3, 10**9, 0, 3])
    noise = uniform(1, 2, indices, 5)
    assert noise.shape == (4, 5)
    assert torch.equal(noise[0], noise[3])
    assert torch.equal(uniform(1, 2, indices[1:2], 5), noise[1:2])  # whatever else is in the batch
    assert torch.equal(uniform(1, 2, indices, 3), noise[:, :3])  # however many draws
    others = [uniform(2, 2, indices, 5), uniform(1, 3, indices, 5), uniform(1, 2, indices, 5, 1)]
    for other in others:
        assert not (other == noise).any()


def test_noise_is_uniform_and_uncorrelated():
    noise = uniform(0, 1, torch.arange(20_000), 4).double()
    assert noise.min() >= 0
    assert noise.max() < 1
    assert (noise.mean(0) - 0.5).abs().max() < 0.01
    assert (noise.var(0) - 1 / 12).abs().max() < 0.002
    counts = torch.histc(noise.float(), 50)
    assert (counts / counts.mean() - 1).abs().max() < 0.1
    assert (torch.corrcoef(noise.T) - torch.eye(4)).abs().max() < 0.03
    neighbours = torch.stack([noise[:-1, 0], noise[1:, 0]])
    assert torch.corrcoef(neighbours)[0, 1].abs() < 0.03


def test_negative_and_large_seeds_are_taken():
    indices = torch.arange(3)
    seen = [uniform(seed, 0, indices, 2) for seed in (-1, 0, 2**31, 2**40)]
    assert all(((noise >= 0) & (noise < 1)).all() for noise in seen)
    assert len({noise[0, 0].item() for noise in seen}) == 4


# -- the weak view -----------------------------------------------------------


def slow_crop_flip(image, noise, padding):
    """Pad, crop and mirror one image (C, H, W) with numpy."""
    down, right = (int(value * (2 * padding + 1)) for value in noise[:2].tolist())
    height, width = image.shape[1:]
    padded = np.pad(image.numpy(), ((0, 0), (padding, padding), (padding, padding)))
    cropped = padded[:, down : down + height, right : right + width]
    return torch.tensor((cropped[:, :, ::-1] if noise[2] < 0.5 else cropped).copy())


@pytest.mark.parametrize('padding', [0, 4, 9])
@pytest.mark.parametrize(('height', 'width'), [(32, 32), (5, 9)])
def test_crop_and_flip_as_numpy_does(padding, height, width):
    images = random_images(30, height, width)
    noise = uniform(0, 0, torch.arange(30), 3)
    expected = torch.stack(
        [slow_crop_flip(*pair, padding) for pair in zip(images, noise, strict=True)]
    )
    assert torch.equal(crop_flip(images, noise, padding), expected)
    assert 0 < (noise[:, 2] < 0.5).sum() < 30


@pytest.mark.parametrize(('seed', 'epoch'), [(0, 0), (1, 7), (2**31 - 1, 10**6), (3, -1)])
def test_the_compiled_numbers_are_the_same_bits(seed, epoch, monkeypatch):
    indices = torch.tensor([0, 1, 63, 10**6, 2**40])
    compiled = [uniform(seed, epoch, indices, 5, stream) for stream in (0, 1, 2)]
    monkeypatch.setattr(NOISE_KERNELS, lambda name: None)
    for stream, numbers in enumerate(compiled):
        assert torch.equal(uniform(seed, epoch, indices, 5, stream), numbers)


@pytest.mark.parametrize('padding', [0, 4, 33, 70])
@pytest.mark.parametrize(('height', 'width'), [(32, 32), (5, 9)])
def test_the_compiled_pass_gives_the_same_bits(padding, height, width, monkeypatch):
    images = random_images(30, height, width)
    noise = uniform(0, 0, torch.arange(30), 3)
    fused = crop_flip_normalize(images, noise, padding, MEAN, STD)
    assert torch.equal(fused, normalize(crop_flip(images, noise, padding), MEAN, STD))
    monkeypatch.setattr(weak, 'load_kernels', lambda name: None)
    assert torch.equal(crop_flip_normalize(images, noise, padding, MEAN, STD), fused)


def test_no_shift_and_no_flip_give_the_image_back():
    images = random_images()
    still = torch.tensor([[0.5, 0.5, 0.9]]).expand(8, 3)
    assert torch.equal(crop_flip(images, still, 4), images)


def test_normalize_is_that_of_images_between_0_and_1():
    images = random_images()
    expected = (images.double() / 255 - MEAN[:, None, None]) / STD[:, None, None]
    torch.testing.assert_close(
        normalize(images, MEAN, STD).double(), expected, rtol=1e-5, atol=1e-6
    )


# -- the strong view ---------------------------------------------------------


def by_pillow(images, operation):
    arrays = [np.asarray(image.permute(1, 2, 0)) for image in images]
    results = [np.asarray(operation(Image.fromarray(array))) for array in arrays]
    return torch.tensor(np.stack(results)).permute(0, 3, 1, 2).float()


PILLOW = {
    'auto_contrast': lambda m: ImageOps.autocontrast,
    'brightness': lambda m: lambda image: ImageEnhance.Brightness(image).enhance(m),
    'colour': lambda m: lambda image: ImageEnhance.Color(image).enhance(m),
    'contrast': lambda m: lambda image: ImageEnhance.Contrast(image).enhance(m),
    'equalize': lambda m: ImageOps.equalize,
    'identity': lambda m: lambda image: image,
    'posterize': lambda m: lambda image: ImageOps.posterize(image, int(m)),
    'sharpness': lambda m: lambda image: ImageEnhance.Sharpness(image).enhance(m),
    'solarize': lambda m: lambda image: ImageOps.solarize(image, m),
}


@pytest.mark.parametrize('name', PILLOW)
@pytest.mark.parametrize('share', [0.1, 0.6, 0.99])
def test_operations_on_values_are_pillows_within_one_level(name, share):
    operation, low, high = strong.OPERATIONS[name]
    magnitude = low + (high - low) * share
    images = smooth_images()
    ours = operation(images.float(), torch.full((4,), magnitude))
    difference = (ours - by_pillow(images, PILLOW[name](magnitude))).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 0.01


@pytest.mark.parametrize('name', ['rotate', 'shear_x', 'shear_y', 'translate_x', 'translate_y'])
def test_geometric_operations_move_pixels_and_fill_with_black(name):
    operation, low, high = strong.OPERATIONS[name]
    images = random_images().float()
    assert torch.equal(operation(images, torch.zeros(8)), images)
    moved = operation(images, torch.full((8,), high))
    back = operation(moved, torch.full((8,), low))  # the range is symmetric
    inner = (slice(None), slice(None), slice(14, 18), slice(14, 18))
    assert (back[inner] == images[inner]).float().mean() > 0.5
    assert (moved == 0).all(1).any()
    assert set(moved.unique().tolist()) <= {0.0, *images.unique().tolist()}


def test_a_quarter_turn_is_exact():
    images = random_images().float()
    turned = strong.rotate(images, torch.full((8,), 90.0))
    assert torch.equal(turned, images.rot90(1, (2, 3))) or torch.equal(
        turned, images.rot90(-1, (2, 3))
    )


def test_translation_shifts_by_the_share_of_the_side():
    images = random_images().float()
    moved = strong.translate_x(images, torch.full((8,), 0.25))
    assert torch.equal(moved[..., :24], images[..., 8:])
    assert (moved[..., 24:] == 0).all()


def test_the_cut_out_is_grey_half_the_side_and_may_reach_over_the_border():
    images = torch.zeros(2, 3, 32, 32)
    cut = strong.cut_out(images, torch.tensor([[0.5, 0.5], [0.0, 0.0]]))
    assert (cut[0] == 127).sum() == 3 * 16 * 16
    assert (cut[1] == 127).sum() == 3 * 8 * 8
    assert set(cut.unique().tolist()) == {0.0, 127.0}


def test_the_strong_view_of_an_image_does_not_depend_on_the_batch():
    images = random_images(64)
    noise = uniform(0, 0, torch.arange(64), 6)
    together = strong_view(images, noise)
    assert together.min() >= 0
    assert together.max() <= 255
    assert torch.equal(together, together.round())
    for row in (0, 17, 63):
        alone = strong_view(images[row : row + 1], noise[row : row + 1])
        assert torch.equal(alone[0], together[row])
    assert torch.equal(images, random_images(64))
    changed = (together != images).flatten(1).any(1)
    assert changed.all()


def test_every_operation_is_drawn_equally_often():
    noise = uniform(0, 0, torch.arange(28_000), 6)
    for step in (0, 2):
        counts = torch.bincount((noise[:, step] * len(strong.OPERATIONS)).long())
        assert len(counts) == 14
        assert (counts / 2000 - 1).abs().max() < 0.1
