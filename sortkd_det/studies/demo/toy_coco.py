"""A small data set in COCO's format, drawn on the spot: twelve shapes that are easily confused.

It stands in for COCO where a detector must train from scratch within minutes on a CPU. Its classes
come in four families of three look-alikes, so that a teacher's logits say more than its labels.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from sortkd_det.files import written_whole

# Goes into the marker: raise it whenever a change below makes other images or annotations.
FORMAT_VERSION = 2
MARKER_NAME = 'toy_coco.json'

# Difficulty. Pairs are the ends of a range; lengths are in pixels of the image.
MAX_OBJECTS = 4  # objects an image, 1 to this: more means more occlusion
SIZE_RANGE = (32, 120)  # longer side of an object's box, log-uniform: smaller is harder
MAX_SIZE_FRACTION = 0.8  # of the image's shorter side: caps the sizes above
MIN_VISIBLE = 0.6  # share of an object that those over it leave in sight: less is harder
ROTATION = (-20, 20)  # degrees: wider is much harder, each class has more to look like
MAX_OVERHANG = 0.15  # of a box's side that may lie outside the image: more is harder
HUE_SPREAD = 20  # degrees about the hue of a class; neighbours are 30 apart: more is harder
COLOUR_CANDIDATES = 5  # the one furthest from the background is taken: 1 camouflages
GRADIENT_STRENGTH = 20  # grey levels a fill may drift by across an object: more is harder
OUTLINE_PROBABILITY = 0.2  # how often an object has a rim of another colour
TEXTURE_STRENGTH = (4, 16)  # grey levels of the background's texture: more is harder
BACK_CLUTTER = (1, 4)  # lines, scribbles and blobs behind the objects: more is harder
FRONT_CLUTTER = (0, 1)  # lines and scribbles across the objects: more is harder
NOISE_STRENGTH = (1, 6)  # standard deviation of the pixel noise, in grey levels

# How alike the members of a family are: the nearer to the look-alike, the harder.
ELLIPSE_ASPECT = (0.45, 0.65)  # short by long axis; 1 is a circle
RING_HOLE = (0.45, 0.65)  # radius of the hole by that of the ring; 0 is a circle
RECTANGLE_ASPECT = (0.4, 0.62)  # short by long side; 1 is a square
RHOMBUS_ASPECT = (0.5, 0.7)  # short by long diagonal; 1 is a square
STAR_DENT = (0.38, 0.48)  # inner by outer radius; the larger, the more stars look like polygons
CROSS_SHIFT = (0.35, 0.5)  # of a cross's bar along the stem; 0 is a plus

_SUPERSAMPLING = 3
_PLACEMENT_TRIES = 20
_CURVE_POINTS = 48
_MIN_IMAGE_SIDE = 32
_SPLITS = ('train', 'val')


class Shape(NamedTuple):
    """A class of the data set.

    Attributes:
        name (str): Name of the category.
        family (str): Supercategory, shared by its look-alikes.
        outline (Callable): Draws one example: takes a random generator and returns a closed polygon
            of shape (num_points, 2), in any unit and position.
    """

    name: str
    family: str
    outline: Callable[[np.random.Generator], np.ndarray]


def _ellipse(aspect: float) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, _CURVE_POINTS, endpoint=False)
    return np.stack([np.cos(angle), aspect * np.sin(angle)], axis=1)


def _ring(hole: float) -> np.ndarray:
    """Join rim and hole by a slit of no width: one polygon, as COCO's format knows no holes."""
    rim = _ellipse(aspect=1)
    rim = np.concatenate([rim, rim[:1]])
    return np.concatenate([rim, hole * rim[::-1]])


def _rectangle(aspect: float) -> np.ndarray:
    return np.array([[-1, -aspect], [1, -aspect], [1, aspect], [-1, aspect]])


def _rhombus(aspect: float) -> np.ndarray:
    return np.array([[-1, 0], [0, -aspect], [1, 0], [0, aspect]])


def _star(num_points: int, dent: float) -> np.ndarray:
    angle = np.pi / num_points * np.arange(2 * num_points)
    radius = np.where(np.arange(2 * num_points) % 2, dent, 1)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _cross(shift: float, rng: np.random.Generator) -> np.ndarray:
    """A stem of length 2 and a bar across it, `shift` away from the stem's middle."""
    half_width = rng.uniform(0.2, 0.32)
    bar_top = min(shift + half_width, 1)
    bar_bottom = bar_top - 2 * half_width
    right = [
        [half_width, -1],
        [half_width, bar_bottom],
        [1, bar_bottom],
        [1, bar_top],
        [half_width, bar_top],
        [half_width, 1],
    ]
    left = [[-x, y] for x, y in reversed(right)]
    return np.array(right + left)


# No shape may become another by turning it: objects are drawn at any angle.
SHAPES = (
    Shape('circle', 'round', lambda rng: _ellipse(aspect=1)),
    Shape('ellipse', 'round', lambda rng: _ellipse(rng.uniform(*ELLIPSE_ASPECT))),
    Shape('ring', 'round', lambda rng: _ring(rng.uniform(*RING_HOLE))),
    Shape('square', 'quadrilateral', lambda rng: _rectangle(aspect=1)),
    Shape('rectangle', 'quadrilateral', lambda rng: _rectangle(rng.uniform(*RECTANGLE_ASPECT))),
    Shape('rhombus', 'quadrilateral', lambda rng: _rhombus(rng.uniform(*RHOMBUS_ASPECT))),
    Shape('star4', 'star', lambda rng: _star(4, rng.uniform(*STAR_DENT))),
    Shape('star5', 'star', lambda rng: _star(5, rng.uniform(*STAR_DENT))),
    Shape('star6', 'star', lambda rng: _star(6, rng.uniform(*STAR_DENT))),
    Shape('plus', 'cross', lambda rng: _cross(0, rng)),
    Shape('cross', 'cross', lambda rng: _cross(rng.uniform(*CROSS_SHIFT), rng)),
    Shape('tee', 'cross', lambda rng: _cross(1, rng)),
)
CLASSES = tuple(shape.name for shape in SHAPES)


def generate_toy_coco(
    root: str | Path,
    num_train: int = 400,
    num_val: int = 400,
    image_size: tuple[int, int] = (160, 160),
    seed: int = 0,
) -> Path:
    """Write the toy data set to `root`, unless it is there already.

    It holds `annotations/{train,val}.json`, `train/*.png`, `val/*.png` and a marker with the
    parameters. It appears at once and complete: it is drawn in a folder beside `root`, which is
    renamed at the end (so let one process at a time make it). The same parameters give the same
    bytes (with the same numpy and OpenCV), and an image does not depend on how many there are.

    Boxes are those of the whole shape within the image, also where another object hides a part of
    it. `area` is the box's area, like that of predicted boxes in COCO's evaluation.

    Args:
        root (str | Path): Folder of the data set; may be absent or empty.
        num_train (int): Number of training images, at least 1.
        num_val (int): Number of validation images, at least 1.
        image_size (tuple[int, int]): Width and height in pixels, at least 32 each.
        seed (int): Seed of all that is random, at least 0.

    Returns:
        Path: `root`, resolved to an absolute path.

    Raises:
        ValueError: If a parameter is out of its range, or `root` holds something else: a toy data
            set of other parameters, an incomplete one, or other files.
    """
    width, height = image_size
    lower_bounds = {
        'num_train': (num_train, 1),
        'num_val': (num_val, 1),
        'width in image_size': (width, _MIN_IMAGE_SIDE),
        'height in image_size': (height, _MIN_IMAGE_SIDE),
        'seed': (seed, 0),
    }
    for name, (value, lower_bound) in lower_bounds.items():
        if value < lower_bound:
            raise ValueError(f'{name} must be at least {lower_bound}, got {value}.')
    marker = dict(
        format_version=FORMAT_VERSION,
        num_train=num_train,
        num_val=num_val,
        image_size=[width, height],
        seed=seed,
    )

    root = Path(root).resolve()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        _check_existing(root, marker)
        return root

    with written_whole(root) as partial:
        for split_index, split in enumerate(_SPLITS):
            num_images = marker[f'num_{split}']
            _write_split(partial, split, num_images, (width, height), (seed, split_index))
        (partial / MARKER_NAME).write_text(json.dumps(marker, indent=2) + '\n')
    return root


def _check_existing(root: Path, marker: dict) -> None:
    """Raise a ValueError unless `root` is a complete toy data set with this marker."""
    advice = 'Delete it to have it drawn anew, or name another folder.'
    marker_path = root / MARKER_NAME
    if not marker_path.is_file():
        raise ValueError(f'{root} is not a toy data set: it holds no {MARKER_NAME}. {advice}')
    try:
        found = json.loads(marker_path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{marker_path} is not valid JSON. {advice}') from error
    if found != marker:
        raise ValueError(
            f'{root} holds a toy data set of other parameters: found {found}, expected {marker}. '
            f'{advice}'
        )
    for split in _SPLITS:
        num_expected = marker[f'num_{split}']
        num_found = len(list((root / split).glob('*.png')))
        if num_found != num_expected or not (root / f'annotations/{split}.json').is_file():
            raise ValueError(
                f'{root} is incomplete: expected annotations/{split}.json and {num_expected} '
                f'images in {split}/, found {num_found} images. {advice}'
            )


def _write_split(
    root: Path, split: str, num_images: int, image_size: tuple[int, int], seed: tuple[int, int]
) -> None:
    """Write the images and the annotation file of one split."""
    width, height = image_size
    (root / split).mkdir(parents=True)
    (root / 'annotations').mkdir(exist_ok=True)
    images, annotations = [], []
    for image_index in range(num_images):
        rng = np.random.default_rng((*seed, image_index))
        pixels, objects = _draw_image(rng, image_size)
        file_name = f'{image_index + 1:06d}.png'
        (root / split / file_name).write_bytes(cv2.imencode('.png', pixels)[1].tobytes())
        images.append(dict(id=image_index + 1, file_name=file_name, width=width, height=height))
        for label, polygon in objects:
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=image_index + 1,
                    category_id=label + 1,
                    iscrowd=0,
                    **_annotate(polygon, image_size),
                )
            )
    categories = [
        dict(id=index + 1, name=shape.name, supercategory=shape.family)
        for index, shape in enumerate(SHAPES)
    ]
    (root / f'annotations/{split}.json').write_text(
        json.dumps(
            dict(
                info=dict(description='Toy data set of sortkd_det', version=str(FORMAT_VERSION)),
                images=images,
                annotations=annotations,
                categories=categories,
            )
        )
    )


def _annotate(polygon: np.ndarray, image_size: tuple[int, int]) -> dict:
    """Return COCO's `bbox`, `area` and `segmentation` of a polygon's part within the image."""
    inside = _round(_clip(polygon, image_size))
    x, y = inside.min(axis=0).tolist()
    box_width, box_height = np.ptp(inside, axis=0).tolist()
    return dict(
        bbox=[x, y, box_width, box_height],
        area=box_width * box_height,
        segmentation=[inside.ravel().tolist()],
    )


def _round(points: np.ndarray) -> np.ndarray:
    """Round to eighths, which floats hold exactly: x + width never passes the image's border."""
    return np.round(points * 8) / 8


def _clip(polygon: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Cut a polygon (num_points, 2) at the image's borders (Sutherland and Hodgman, 1974)."""
    for axis, border, sign in (
        (0, 0, 1),
        (1, 0, 1),
        (0, image_size[0], -1),
        (1, image_size[1], -1),
    ):
        kept = []
        for start, end in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            start_depth = sign * (start[axis] - border)
            end_depth = sign * (end[axis] - border)
            if start_depth >= 0:
                kept.append(start)
            if start_depth * end_depth < 0:
                kept.append(start + (end - start) * start_depth / (start_depth - end_depth))
        polygon = np.array(kept)
    return polygon


def _draw_image(
    rng: np.random.Generator, image_size: tuple[int, int]
) -> tuple[np.ndarray, list[tuple[int, np.ndarray]]]:
    """Draw an image.

    Args:
        rng (np.random.Generator): Source of all that is random.
        image_size (tuple[int, int]): Width and height in pixels.

    Returns:
        tuple[np.ndarray, list[tuple[int, np.ndarray]]]: The image of shape (height, width, 3),
            uint8, and of every object its label and polygon of shape (num_points, 2), in pixels,
            possibly reaching over the image's borders.
    """
    canvas = _draw_background(rng, image_size)
    for _ in range(rng.integers(*BACK_CLUTTER, endpoint=True)):
        draw_clutter = (_draw_line, _draw_scribble, _draw_blob)[rng.integers(3)]
        draw_clutter(canvas, rng)
    objects = _draw_objects(canvas, rng)
    for _ in range(rng.integers(*FRONT_CLUTTER, endpoint=True)):
        draw_clutter = (_draw_line, _draw_scribble)[rng.integers(2)]
        draw_clutter(canvas, rng)
    image = cv2.resize(canvas, image_size, interpolation=cv2.INTER_AREA).astype(np.float64)
    image += rng.normal(0, rng.uniform(*NOISE_STRENGTH), image.shape)
    return image.clip(0, 255).astype(np.uint8), objects


def _draw_background(rng: np.random.Generator, image_size: tuple[int, int]) -> np.ndarray:
    """Return a supersampled canvas with a texture of three grain sizes."""
    width, height = image_size
    background = np.full((height, width, 3), rng.uniform(40, 215, 3))
    for grain_count in (2, 8, 24):
        strength = rng.uniform(*TEXTURE_STRENGTH)
        grains = rng.uniform(-strength, strength, (grain_count, grain_count, 3))
        background += cv2.resize(grains, image_size, interpolation=cv2.INTER_CUBIC)
    background = background.clip(0, 255).astype(np.uint8)
    return cv2.resize(background, None, fx=_SUPERSAMPLING, fy=_SUPERSAMPLING)


def _draw_objects(canvas: np.ndarray, rng: np.random.Generator) -> list[tuple[int, np.ndarray]]:
    """Draw objects one over the other and return their labels and polygons (pixels)."""
    objects: list[tuple[int, np.ndarray]] = []
    owner = np.zeros(canvas.shape[:2], dtype=np.uint8)  # 1 + index of the object in sight
    spare = np.zeros(0)  # by object: pixels that may still be hidden
    for _ in range(rng.integers(1, MAX_OBJECTS, endpoint=True)):
        label = int(rng.integers(len(SHAPES)))
        for _ in range(_PLACEMENT_TRIES):
            polygon = _place(SHAPES[label].outline(rng), canvas, rng)
            mask = np.zeros_like(owner)
            cv2.fillPoly(mask, [_to_canvas(polygon)], 1)
            hidden = np.bincount(owner[mask > 0], minlength=len(objects) + 1)[1:]
            if (hidden <= spare).all():
                _paint(canvas, mask, 360 * label / len(SHAPES), rng)
                objects.append((label, polygon))
                owner[mask > 0] = len(objects)
                spare = np.append(spare - hidden, (1 - MIN_VISIBLE) * mask.sum())
                break
    return objects


def _place(outline: np.ndarray, canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Turn, scale and shift an outline (num_points, 2) to a random place, in pixels."""
    height, width = np.array(canvas.shape[:2]) // _SUPERSAMPLING
    angle = np.radians(rng.uniform(*ROTATION))
    turned = outline @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    largest = min(SIZE_RANGE[1], MAX_SIZE_FRACTION * min(width, height))
    size = np.exp(rng.uniform(np.log(SIZE_RANGE[0]), np.log(largest)))
    scaled = (turned - turned.min(axis=0)) * size / np.ptp(turned, axis=0).max()
    box = scaled.max(axis=0)
    corner = rng.uniform(-MAX_OVERHANG * box, (width, height) - (1 - MAX_OVERHANG) * box)
    return scaled + corner


def _to_canvas(polygon: np.ndarray) -> np.ndarray:
    """Turn pixels of the image into indices of the supersampled canvas, as OpenCV takes them."""
    return np.round(polygon * _SUPERSAMPLING - 0.5).astype(np.int32)


def _paint(canvas: np.ndarray, mask: np.ndarray, hue: float, rng: np.random.Generator) -> None:
    """Fill a mask with a gradient and perhaps a rim.

    The hue (degrees) hints at the class; those of look-alikes overlap.
    """
    left, top, width, height = cv2.boundingRect(mask)
    window = np.s_[top : top + height, left : left + width]
    canvas, mask = canvas[window], mask[window]

    hues = (hue + rng.uniform(-HUE_SPREAD, HUE_SPREAD, COLOUR_CANDIDATES)) % 360
    saturation_value = rng.uniform((0.45, 0.35), 1, (COLOUR_CANDIDATES, 2))
    hsv = np.column_stack([hues, saturation_value]).astype(np.float32)[None]
    candidates = 255.0 * cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0]
    contrast = np.linalg.norm(candidates - cv2.mean(canvas)[:3], axis=1)
    middle = candidates[contrast.argmax()]
    drift_x, drift_y = rng.uniform(-GRADIENT_STRENGTH / 2, GRADIENT_STRENGTH / 2, (2, 3))
    fill = (
        middle
        + np.linspace(-drift_x, drift_x, width)[None]
        + np.linspace(-drift_y, drift_y, height)[:, None]
    )
    cv2.copyTo(fill.clip(0, 255).astype(np.uint8), mask, canvas)

    if rng.random() < OUTLINE_PROBABILITY:
        rim_width = rng.uniform(0.02, 0.05) * max(width, height)
        framed = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        depth = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1]
        canvas[(depth > 0) & (depth <= rim_width)] = rng.uniform(0, 255, 3)


def _random_colour(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(rng.integers(0, 256, 3).tolist())


def _random_thickness(rng: np.random.Generator) -> int:
    return int(_SUPERSAMPLING * rng.uniform(0.7, 2.5))


def _random_position(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0, canvas.shape[1::-1])


def _draw_line(canvas: np.ndarray, rng: np.random.Generator) -> None:
    ends = [_random_position(canvas, rng).astype(int).tolist() for _ in range(2)]
    cv2.line(canvas, *ends, _random_colour(rng), _random_thickness(rng))


def _draw_scribble(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Draw an open curve: a random walk whose direction changes slowly."""
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.6, 20))
    step = _SUPERSAMPLING * rng.uniform(2, 6)
    steps = step * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = _random_position(canvas, rng) + np.cumsum(steps, axis=0)
    cv2.polylines(
        canvas, [points.astype(np.int32)], False, _random_colour(rng), _random_thickness(rng)
    )


def _draw_blob(canvas: np.ndarray, rng: np.random.Generator) -> None:
    """Draw a filled closed curve, too uneven to pass for a class."""
    angle = np.linspace(0, 2 * np.pi, _CURVE_POINTS, endpoint=False)
    radius = np.ones_like(angle)
    for frequency in (1, 2, 3):
        radius += rng.uniform(0.15, 0.3) * np.cos(frequency * angle + rng.uniform(0, 2 * np.pi))
    radius *= _SUPERSAMPLING * rng.uniform(5, 25)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points += _random_position(canvas, rng)
    cv2.fillPoly(canvas, [points.astype(np.int32)], _random_colour(rng))
