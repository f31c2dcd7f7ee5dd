"""A page of a test as large as COCO's: 5,000 images, 80 classes, 100 detections an image."""

import json
import time

import cv2
import numpy as np
import pytest
from selenium.webdriver.common.by import By

from sortkd_det.studies.comparison import compare
from sortkd_det.studies.finished import Scored
from sortkd_det.studies.html import write_page
from sortkd_det.studies.html.comparison_page import comparison_page

NUM_IMAGES, NUM_CLASSES, NUM_OBJECTS, NUM_DETECTIONS = 5000, 80, 7, 100
MEGABYTE = 2**20


def drawn(rng, number):
    """So many boxes of each image, as COCO's files have them."""
    corners = rng.uniform((0, 0, 8, 8), (480, 320, 160, 160), (NUM_IMAGES, number, 4)).round(2)
    classes = rng.integers(1, NUM_CLASSES + 1, (NUM_IMAGES, number))
    return [
        dict(image_id=image, category_id=int(k), bbox=box.tolist())
        for image in range(NUM_IMAGES)
        for box, k in zip(corners[image], classes[image], strict=True)
    ]


@pytest.fixture(scope='module')
def large(tmp_path_factory):
    """Two files of detections, their annotations, and how they compare."""
    folder = tmp_path_factory.mktemp('large')
    rng = np.random.default_rng(0)
    truths = drawn(rng, NUM_OBJECTS)
    for number, truth in enumerate(truths, 1):
        truth.update(id=number, area=truth['bbox'][2] * truth['bbox'][3], iscrowd=0)
    images = [
        dict(id=i, file_name=f'{i}.jpg', width=640, height=480) for i in range(NUM_IMAGES)
    ]  # fmt: skip
    categories = [dict(id=k, name=f'class {k}') for k in range(1, NUM_CLASSES + 1)]
    content = dict(images=images, annotations=truths, categories=categories)
    path = folder / 'annotations.json'
    path.write_text(json.dumps(content))
    for name in ('student', 'kd'):
        found = drawn(rng, NUM_DETECTIONS - NUM_OBJECTS)
        found += [dict(t, bbox=[v + rng.normal() for v in t['bbox']]) for t in truths]
        scores = rng.random(len(found)).round(4).tolist()
        keys = ('image_id', 'category_id', 'bbox')
        found = [
            {**{key: each[key] for key in keys}, 'score': score}
            for each, score in zip(found, scores, strict=True)
        ]
        (folder / f'{name}.bbox.json').write_text(json.dumps(found))
    noise = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    picture = cv2.resize(noise, (640, 480), interpolation=cv2.INTER_CUBIC)
    for image in images:
        cv2.imwrite(str(folder / image['file_name']), picture)
    runs = [
        Scored(name, 0, detections=folder / f'{name}.bbox.json', images=folder)
        for name in ('student', 'kd')
    ]
    return runs, path, compare(runs, {'kd': 'student'}, None, 20, path)


@pytest.mark.slow
@pytest.mark.parametrize('number', [24, 200])
def test_it_is_small_and_opens_at_once(large, show, number, tmp_path):
    runs, annotations, (metric, rows) = large
    page = comparison_page(metric, rows, runs, 'test', number, annotations=annotations)
    path = write_page(page, tmp_path / 'report.html')
    size = path.stat().st_size
    start = time.perf_counter()
    browser = show(path)
    opened = time.perf_counter() - start
    start = time.perf_counter()
    browser.find_elements(By.CSS_SELECTOR, 'fieldset label')[2].click()
    browser.execute_script(
        'const slider = document.querySelector("[name=score]"); slider.value = 0.05;'
        'slider.dispatchEvent(new Event("input", { bubbles: true }))'
    )
    moved = time.perf_counter() - start
    told = f'{size / MEGABYTE:.1f} MB, opens in {opened:.2f} s, switches in {moved:.2f} s'
    print(f'{number} images: {told}')
    assert f'{number} of 5,000 images' in browser.find_element(By.TAG_NAME, 'main').text
    assert len(browser.find_elements(By.CSS_SELECTOR, '.cards .card')) == number
    assert len(browser.find_elements(By.CSS_SELECTOR, 'tbody tr')) == 2 + NUM_CLASSES
    assert size < 30 * MEGABYTE
    assert opened < 3
    assert moved < 2
    assert browser.get_log('browser') == []
