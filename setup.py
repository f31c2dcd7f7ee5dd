"""Package description: supported ranges and run-time needs.

``make demo`` and ``make test`` install the pinned stack instead
(``requirements/constraints.txt``); this file serves people who add
sortkd_det to an MMDetection environment of their own.
"""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent


def version() -> str:
    """Read ``__version__`` without importing the package."""
    scope: dict = {}
    exec((HERE / 'sortkd_det/version.py').read_text(), scope)
    return scope['__version__']


setup(
    name='sortkd_det',
    version=version(),
    description='Logit distillation with sorted teacher logits for MMDetection',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['sortkd_det', 'sortkd_det.*']),
    package_data={'sortkd_det.studies.html': ['templates/*']},
    python_requires='>=3.11,<3.13',  # mmcv 2.1's setup fails on 3.13
    install_requires=[
        'torch>=2.11',  # the oldest that is tried; weights-only loading with an allow-list
        'numpy>=1.24',
        'setuptools<81',  # MMEngine's `mmdet::` base configs import pkg_resources
        'mmengine>=0.10.7,<0.11',  # runner, hooks, registries, configs
        'msgspec>=0.19',  # looks at COCO files before a run; json takes five times as long
        'terminaltables',  # tables in logs, as MMDetection prints them
        'safetensors>=0.4',  # checkpoints that end in .safetensors
    ],
    extras_require={
        # Classifiers need neither: mmcv in the range that MMDetection 3.3 accepts, and
        # MMDetection for detectors, their data sets and the COCO metric.
        'detection': ['mmcv>=2.0.0,<2.2.0', 'mmdet>=3.3.0,<3.4'],
        # pytest runs the tests, pytest-xdist on all cores, hypothesis draws the property tests'
        # inputs, ruff lints and formats, tensorboard backs the documented log backend, selenium
        # opens reports in Chromium.
        'dev': [
            *('pytest', 'pytest-xdist', 'hypothesis', 'ruff', 'pre-commit', 'tensorboard'),
            'selenium',
        ],
        # rich shows progress and tables, matplotlib draws figures, scipy knows Student's t, Jinja2
        # fills the page of a report and escapes what users name.
        'demo': ['rich', 'matplotlib', 'scipy', 'Jinja2'],
        # numba compiles sort and soft ranks on CPUs; without it they run in plain torch.
        'fast': ['numba'],
        # torchsort is what benchmarks/soft_rank.py measures against.
        'benchmark': ['torchsort'],
    },
)
