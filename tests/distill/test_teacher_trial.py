"""The trial of a teacher counts the images that it has seen, whatever wraps the data set."""

import copy
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

from sortkd_det.cli.config import set_data_root
from sortkd_det.cli.runner import build_runner
from sortkd_det.distill import ClassMap
from sortkd_det.distill.teacher_trial import SomeImages, try_teacher

REPO = Path(__file__).parents[2]


class Guesser(BaseModel):
    """Finds most boxes about where they are, or none."""

    def __init__(self, preprocessor, share=1.0):
        super().__init__(preprocessor)
        self.share = share

    def forward(self, inputs, data_samples, mode='tensor'):
        for sample in data_samples:
            draw = torch.Generator().manual_seed(sample.img_id)
            truth = sample.gt_instances
            boxes = truth.bboxes + torch.randn(len(truth.bboxes), 4, generator=draw) * 2
            wrong = torch.rand(len(boxes), generator=draw) < 0.2
            guess = InstanceData(
                bboxes=boxes,
                labels=torch.where(wrong, (truth.labels + 1) % 12, truth.labels),
                scores=torch.rand(len(boxes), generator=draw),
            )
            sample.pred_instances = guess[: int(len(boxes) * self.share)]
        return data_samples


@pytest.fixture
def trial(tmp_path, toy_data):
    """Test a guesser as a teacher: what the log says of it."""
    cfg = Config.fromfile(REPO / 'configs/toy/student.py')
    set_data_root(cfg, str(toy_data))
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.update(num_workers=0, persistent_workers=False, batch_size=3)
    cfg.launcher = 'none'
    numbers = iter(range(100))

    def run(number, dataset=None, evaluator=None, share=1.0):
        mine = copy.deepcopy(cfg)
        name = f'{tmp_path.name}-{next(numbers)}'
        mine.work_dir = str(tmp_path / name)
        mine.experiment_name = mine.visualizer.name = name
        if dataset is not None:
            mine.val_dataloader.dataset = dataset(mine.val_dataloader.dataset)
        if evaluator is not None:
            mine.val_evaluator = evaluator(mine.val_evaluator)
        runner = build_runner(mine)
        guesser = Guesser(mine.model.data_preprocessor, share)
        teacher = SimpleNamespace(model=guesser, class_map=ClassMap())
        try_teacher(teacher, runner, number)
        (log,) = Path(runner.log_dir).glob('*.log')
        return re.search('teacher on .* images of the validation set: .*', log.read_text()).group()

    return run


@pytest.fixture
def only(toy_data):
    """Write a file of some of the validation images, by their places: its path."""

    def write(*places):
        data = json.loads((toy_data / 'annotations/val.json').read_text())
        data['images'] = [data['images'][place] for place in places]
        ids = [image['id'] for image in data['images']]
        data['annotations'] = [a for a in data['annotations'] if a['image_id'] in ids]
        path = toy_data / f'annotations/only_{"_".join(map(str, places))}.json'
        path.write_text(json.dumps(data))
        return path

    return write


def reading(path, dataset):
    """The data set of another file."""
    return {**copy.deepcopy(dataset), 'ann_file': f'annotations/{path.name}'}


def counting(path, evaluator):
    """The metric of another file."""
    return {**evaluator, 'ann_file': str(path)}


@pytest.fixture
def right(trial, only):
    """What is right for some images: a file of them alone, all of it counted."""

    def measure(*places):
        path = only(*places)
        return trial(100, lambda d: reading(path, d), lambda e: counting(path, e))

    return measure


def repeat(dataset, times=2):
    return dict(type='RepeatDataset', dataset=dataset, times=times)


def concat(*datasets):
    return dict(type='ConcatDataset', datasets=list(datasets))


WRAPPERS = {
    'none': lambda d: d,
    'one part': lambda d: concat(d),
    'RepeatDataset': repeat,
    'ClassBalancedDataset': lambda d: dict(
        type='ClassBalancedDataset', dataset=d, oversample_thr=0.9
    ),
    'one within the other': lambda d: repeat(repeat(d)),
    'a repeated part': lambda d: concat(repeat(d, 3)),
}


@pytest.mark.parametrize('name', WRAPPERS)
def test_the_first_images_are_counted_and_no_others(trial, right, name):
    expected = right(0, 1, 2, 3)
    value = float(re.search(r'bbox_mAP (\S+),', expected).group(1))
    assert 0.1 < value < 0.9
    assert expected != right(0, 1, 2, 3, 4, 5)
    assert trial(4, WRAPPERS[name]) == expected


@pytest.mark.parametrize('name', ['ClassBalancedDataset', 'a repeated part'])
def test_an_image_that_is_there_often_counts_once(trial, right, name):
    assert trial(100, WRAPPERS[name]) == right(0, 1, 2, 3, 4, 5)


def test_each_part_has_as_many_images(trial, only, right):
    first, second = only(0, 1, 2), only(3, 4, 5)

    def parts(dataset):
        return concat(reading(first, dataset), repeat(reading(second, dataset)))

    assert trial(4, parts) == right(0, 1, 3, 4)
    assert trial(3, parts) == right(0, 1, 3)


def test_parts_with_metrics_of_their_own(trial, only, right):
    first, second = only(0, 1, 2), only(3, 4, 5)

    def parts(dataset):
        return concat(reading(first, dataset), reading(second, dataset))

    def metrics(evaluator):
        return dict(
            type='MultiDatasetsEvaluator',
            metrics=[counting(first, evaluator), counting(second, evaluator)],
            dataset_prefixes=['one', 'two'],
        )

    said = trial(4, parts, metrics)
    for name, places in (('one', (0, 1)), ('two', (3, 4))):
        (value,) = re.findall(rf'{name}/coco/bbox_mAP (\S+),', said)
        assert f'bbox_mAP {value}, ' in right(*places)
    with pytest.raises(ValueError, match='check_teacher is 1 and the validation set has 2 parts'):
        trial(1, parts, metrics)


def test_a_teacher_that_finds_nothing(trial):
    assert trial(4, share=0) == 'teacher on 4 images of the validation set: no detections'


def test_data_sets_that_name_no_images(toy_data):
    """Classifiers', and those of which no metric wants a name."""
    images = SomeImages(range(10), 3, each_part=False)
    assert (images.indices, images.metainfo) == ([0, 1, 2], None)
    with pytest.raises(ValueError, match='get_data_info of the validation set, a range, tells no'):
        images.ids()
