"""Pages with everything on them, of names that would break one, and a browser to open them."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn_boxes import NUM_CLASSES, NUM_IMAGES, draw_boxes
from report_pages import AXE, BREAKING, CLASSES

from sortkd_det.distill import LogitBatch
from sortkd_det.studies.changed_rows import ChangedRows
from sortkd_det.studies.comparison import compare
from sortkd_det.studies.finished import Scored
from sortkd_det.studies.html import write_page
from sortkd_det.studies.html.comparison_page import comparison_page
from sortkd_det.studies.html.teacher_page import teacher_page
from sortkd_det.studies.teacher_analysis import TeacherAnalysis
from sortkd_det.studies.teacher_examples import TeacherExamples

_OPTIONS = (
    'headless=new no-sandbox disable-gpu no-first-run hide-scrollbars window-size=1280,900 '
    'disable-quic disable-background-networking disable-component-update disable-sync'
)


@pytest.fixture(scope='session')
def annotations(tmp_path_factory) -> Path:
    """Images with boxes of classes whose names are markup; every second image has a file."""
    folder = tmp_path_factory.mktemp('drawn')
    truths, _ = draw_boxes(np.random.default_rng(0))
    noise = np.random.default_rng(1).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    images = []
    for image in range(NUM_IMAGES):
        images.append(dict(id=image, file_name=f'im&{image}.png', width=480, height=480))
        if image % 2:
            cv2.imwrite(
                str(folder / images[-1]['file_name']), cv2.resize(noise, (480, 480))
            )  # fmt: skip
    content = dict(
        images=images,
        annotations=[{**truth, 'id': number + 1} for number, truth in enumerate(truths)],
        categories=[dict(id=k + 1, name=CLASSES[k]) for k in range(NUM_CLASSES)],
    )
    path = folder / 'annotations.json'
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope='session')
def runs(annotations) -> list[Scored]:
    """Two methods of two seeds; the second finds more, and is called like markup."""
    found = []
    for method, share in (('student', 0.4), ('<b>kd</b>', 1.0)):
        for seed in (0, 1):
            folder = annotations.parent / f'run_{len(found)}'
            (folder / 'now/vis_data').mkdir(parents=True)
            lines = [dict(loss=2.0, loss_cls=1 / step, step=step) for step in (1, 2, 3)]
            lines += [{'coco/bbox_mAP': share * e / 10 + seed / 100, 'step': e} for e in (1, 2)]
            text = '\n'.join(map(json.dumps, lines))
            (folder / 'now/vis_data/scalars.json').write_text(text)
            _, boxes = draw_boxes(np.random.default_rng(0))
            path = folder / 'detections.bbox.json'
            path.write_text(json.dumps(boxes[: int((share - 0.1 * seed) * len(boxes))]))
            place = dict(annotations=annotations, images=annotations.parent, work_dir=folder)
            found.append(Scored(method, seed, detections=path, **place))
    return found


@pytest.fixture(scope='session')
def comparison(runs):
    """The page of these runs."""
    metric, rows = compare(runs, {'<b>kd</b>': 'student'}, draws=50)
    return comparison_page(metric, rows, runs, 'detections', num_images=8)


@pytest.fixture(scope='session')
def batch() -> LogitBatch:
    """Two rows of the first image and two of the second: three on objects, all wrong."""
    chances = [[0.2, 0.5, 0.3], [0.3, 0.1, 0.6], [0.05, 0.15, 0.8], [0.1, 0.3, 0.6]]
    teacher = torch.tensor(chances, dtype=torch.float64).log()
    places = [[0, 5, 5, 25, 25], [0, 0, 0, 40, 30], [1, 10, 10, 20, 30], [1, 0, 0, 9, 9]]
    return LogitBatch(
        teacher,
        teacher,
        torch.tensor([0, 1, 1, 2]),
        torch.ones(4),
        activation='softmax',
        background=2,
        find_ground_truth=lambda: torch.tensor([False, False, True, False]),
        find_places=lambda: torch.tensor(places, dtype=torch.float32),
    )


@pytest.fixture(scope='session')
def images() -> list[np.ndarray]:
    """Those that the batch is of: one black, one white."""
    return [np.full((40, 50, 3), value, dtype=np.uint8) for value in (0, 255)]


@pytest.fixture(scope='session')
def teacher(batch, images):
    """The page of a teacher that was seen on this batch."""
    analysis, examples = TeacherAnalysis(CLASSES[:2]), TeacherExamples(5)
    analysis.add(ChangedRows.of(batch))
    examples.add(ChangedRows.of(batch), images)
    return teacher_page(analysis, examples.found, {'config': BREAKING, 'images': 2})


@pytest.fixture(scope='session')
def written(comparison, teacher, tmp_path_factory):
    """Name → file of both pages."""
    folder = tmp_path_factory.mktemp('pages')
    pages = dict(comparison=comparison, teacher=teacher)
    return {name: write_page(page, folder / f'{name}.html') for name, page in pages.items()}


@pytest.fixture(scope='session')
def browser():
    """Headless Chromium; where there is none a test is skipped, and under CI fails."""
    found = [shutil.which(name) for name in ('chromium', 'chromedriver')]
    if not all(found) or not AXE.is_file():
        missing = 'no chromium, no chromedriver, or no axe-core in .venv/browser: run make browser'
        (pytest.fail if os.environ.get('CI') else pytest.skip)(missing)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for option in _OPTIONS.split():
        options.add_argument(f'--{option}')
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL'})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(found[1]))
    yield driver
    driver.quit()


@pytest.fixture
def show(browser):
    """Open a file in a window of this width, light or dark; the browser."""

    def open_page(path: Path, width: int = 1280, dark: bool = False):
        size = dict(width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        scheme = dict(name='prefers-color-scheme', value='dark' if dark else 'light')
        browser.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
        browser.execute_cdp_cmd('Emulation.setEmulatedMedia', dict(features=[scheme]))
        browser.get_log('browser')  # what others left
        browser.get(path.as_uri())
        return browser

    return open_page
