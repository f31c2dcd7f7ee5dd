"""The README's config for one's own data, run as it stands there."""

import json
import re
import shutil
from pathlib import Path

from mmengine.config import Config

REPO = Path(__file__).parents[2]
README = (REPO / 'README.md').read_text()


def readme_config() -> str:
    """The block of the README that a user saves as my_data.py."""
    (block,) = re.findall(r'Save this as `my_data\.py`:\n.*?```python\n(.*?)```', README, re.DOTALL)
    return block


def write_mine(toy_data: Path, root: Path) -> None:
    """Cats and dogs (circles and all else) where the README's config looks for them."""
    for split in ('train', 'val'):
        data = json.loads((toy_data / f'annotations/{split}.json').read_text())
        data['images'] = data['images'][:2]
        kept = {image['id'] for image in data['images']}
        data['annotations'] = [
            {**annotation, 'category_id': 1 + (annotation['category_id'] > 6)}
            for annotation in data['annotations']
            if annotation['image_id'] in kept
        ]
        data['categories'] = [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}]
        root.mkdir(parents=True, exist_ok=True)
        (root / f'{split}.json').write_text(json.dumps(data))
        shutil.copytree(toy_data / split, root / split)


def test_the_config_for_ones_own_data_trains(tmp_path, toy_data, run_python, save_random_weights):
    block = readme_config()
    (arguments,) = re.findall(r'^python tools/train\.py (my_data\.py .*)$', README, re.MULTILINE)
    arguments = arguments.split()
    assert len(block.splitlines()) <= 12
    # A user's checkout: the configs of the repository, and the user's files beside them.
    shutil.copytree(REPO / 'configs', tmp_path / 'configs')
    (tmp_path / 'my_data.py').write_text(block)
    write_mine(toy_data, tmp_path / 'data/mine')
    teacher = tmp_path / 'my_teacher.py'
    teacher.write_text(
        "_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'\n"
        'model = dict(roi_head=dict(bbox_head=dict(num_classes=2)), backbone=dict(init_cfg=None))\n'
        "train_dataloader = dict(dataset=dict(metainfo=dict(classes=('cat', 'dog'))))\n"
    )
    save_random_weights(Config.fromfile(teacher), tmp_path / 'my_teacher.pth')
    small = 'scale=(160,160)'
    done = run_python(
        REPO / 'tools/train.py', *arguments, '--cfg-options', 'train_cfg.max_epochs=1',
        'model.backbone.init_cfg=None', 'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
        'val_dataloader.persistent_workers=False', 'default_hooks.logger.interval=1',
        f'train_dataloader.dataset.pipeline.2.{small}',
        f'val_dataloader.dataset.pipeline.1.{small}',
        cwd=tmp_path,
    )  # fmt: skip
    assert re.search(r'wrote .*work_dirs/my_data/my_teacher/sortkd/epoch_1\.pth', done.stdout)
    assert 'loss_distill' in done.stdout + done.stderr
