"""What several test files share: a handful of generated images, thin configs, the real tools."""

import gc
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import mmengine.config.config
import mmengine.config.utils
import numpy as np
import pytest
import torch
from mmengine.config import Config

pytest_plugins = ['small_runs']

REPO = Path(__file__).parents[1]

CORES = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
# Files whose tests look at the same long runs: all of a place go to one worker.
TOGETHER = {
    'tests/distributed/test_gradients.py': 'tests/distributed',
    'tests/distributed/test_evaluation.py': 'tests/distributed',
    'tests/distributed/test_stopping.py': 'tests/distributed',
    'tests/e2e/test_tools.py': 'tests/e2e/test_tools.py',
    'tests/studies/html/test_browser.py': 'tests/studies/html/test_browser.py',
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: a worker a core, up to eight (each takes 1 to 2 GB); on one core, no workers."""
    return min(CORES, 8) if CORES > 1 else 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(specs: list) -> None:
    """Workers share the cores: threads that wait for one spin, and take it from the others."""
    os.environ.setdefault('OMP_NUM_THREADS', str(max(CORES // len(specs), 1)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out tests one by one; xdist 3.8's own groups are lost under pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class OneByOne(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return TOGETHER.get(nodeid.split('::')[0], nodeid)

    return OneByOne(config, log)


def pytest_collection_modifyitems(items):
    """Skip what needs a CUDA device where there is none."""
    if not torch.cuda.is_available():
        skip = pytest.mark.skip(reason='needs a CUDA device')
        for item in items:
            if item.get_closest_marker('cuda'):
                item.add_marker(skip)


@pytest.fixture(scope='session')
def figures():
    """Look up what the methods' authors' own code gave: ``figures(batch, name)``, a tensor.

    ``figures.names`` are all names there are.
    """
    with np.load(REPO / 'tests/data/logit_figures.npz') as file:
        arrays = {key: file[key] for key in file.files}

    def look_up(batch: int, name: str) -> torch.Tensor:
        return torch.tensor(arrays[f'{batch}/{name}'])

    look_up.names = {key.split('/')[1] for key in arrays}
    return look_up


def pytest_collection_finish():
    """Leave what all tests share out of collections: BaseDataset asks for a whole one each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def quick_configs():
    """Spare a run what takes longer than the rest of it: formatting and finding its config.

    MMEngine formats a config for each checkpoint, and reads MMDetection's hundred lists of models
    for each ``mmdet::`` name.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmengine.config.config, 'FormatCode', lambda text, **_: (text, True))
        patch.setattr(mmengine.config.utils, 'load', cache(mmengine.config.utils.load))
        yield


@pytest.fixture(scope='session')
def toy_data(tmp_path_factory) -> Path:
    """A COCO-format data set of 12 + 6 generated images."""
    from sortkd_det.studies.demo.toy_coco import generate_toy_coco

    root = tmp_path_factory.mktemp('data') / 'toy'
    return generate_toy_coco(root, num_train=12, num_val=6, image_size=(96, 96))


@pytest.fixture(scope='session')
def random_teacher(tmp_path_factory) -> Path:
    """A checkpoint of configs/toy/teacher.py with random weights, as training would save it."""
    path = tmp_path_factory.mktemp('teacher') / 'teacher.pth'
    _save_random_weights(Config.fromfile(REPO / 'configs/toy/teacher.py'), path)
    return path


@pytest.fixture(scope='session')
def pictures(tmp_path_factory) -> Path:
    """12 + 6 + 6 noisy pictures of three colours, root/{train,val,test}/<class>/<n>.png."""
    import cv2

    root = tmp_path_factory.mktemp('pictures')
    rng = np.random.default_rng(0)
    for split, number in (('train', 4), ('val', 2), ('test', 2)):
        for channel, name in enumerate(('blue', 'green', 'red')):  # cv2 writes blue, green, red
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(number):
                picture = rng.integers(0, 120, (24, 28, 3), dtype=np.uint8)
                picture[..., channel] += 120
                cv2.imwrite(str(folder / f'{index}.png'), picture)
    return root


@pytest.fixture(scope='session')
def teacher_weights(tmp_path_factory) -> Path:
    """Random weights of a resnet14 for the pictures' classes."""
    import sortkd_det.classification  # noqa: F401
    from sortkd_det.registry import MODELS

    torch.manual_seed(1)
    path = tmp_path_factory.mktemp('weights') / 'teacher.pth'
    torch.save({'model': MODELS.get('cifar/resnet14')(3).state_dict()}, path)
    return path


@pytest.fixture
def save_random_weights():
    """The function that writes such a checkpoint of any config."""
    return _save_random_weights


def _save_random_weights(config: Config, path: Path) -> None:
    """Write a checkpoint of the config's model with random weights and its class names."""
    from mmengine.registry import MODELS, DefaultScope

    import sortkd_det.detection  # noqa: F401

    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(config.model)
        model.init_weights()
    classes = config.train_dataloader.dataset.metainfo.classes
    torch.save(
        {'state_dict': model.state_dict(), 'meta': {'dataset_meta': {'classes': tuple(classes)}}},
        path,
    )


@pytest.fixture
def run_python(tmp_path):
    """Run Python on ``arguments`` in a fresh process; returns the finished process."""

    def run(*arguments, check=True, env=None, cwd=REPO, timeout=300):
        done = subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=cwd,
            env={'OMP_NUM_THREADS': '2', **os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode != 0:
            pytest.fail(f'{arguments} exited {done.returncode}\n{done.stdout}\n{done.stderr}')
        return done

    return run
