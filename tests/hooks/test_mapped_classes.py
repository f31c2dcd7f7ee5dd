"""A run whose teacher has the student's classes in another order, and others beside them."""

from pathlib import Path

import pytest
import torch


@pytest.fixture
def teacher_of_more(detector, random_teacher, tmp_path):
    """The teacher of ``detector``, its classes turned around between two that it never sees."""
    checkpoint = torch.load(random_teacher, weights_only=True)
    classes = list(checkpoint['meta']['dataset_meta']['classes'])
    weights = checkpoint['state_dict']
    for name in ('weight', 'bias'):
        scores = weights[f'roi_head.bbox_head.fc_cls.{name}']
        never = torch.full_like(scores[:1], -100.0 if name == 'bias' else 0.0)
        known, background = scores[:-1].flip(0), scores[-1:]
        weights[f'roi_head.bbox_head.fc_cls.{name}'] = torch.cat([never, known, never, background])
    renamed = f'{classes[9]} of the teacher'
    names = ['comet', *reversed(classes), 'moon']
    names[names.index(classes[9])] = renamed
    checkpoint['meta']['dataset_meta']['classes'] = tuple(names)
    torch.save(checkpoint, tmp_path / 'more.pth')
    return {
        'checkpoint': str(tmp_path / 'more.pth'),
        'cfg_options': {'model.roi_head.bbox_head.num_classes': len(names)},
        'class_map': {renamed: classes[9]},
    }


def run(start, config, work_dir):
    """The distilled losses, and what the log says of the teacher."""
    runner = start(config, str(work_dir))
    runner.train()
    (log,) = Path(runner.work_dir).rglob('*.log')
    lines = [line.split(' - ')[-1] for line in log.read_text().splitlines()]
    losses = runner.message_hub.get_scalar('train/loss_distill').data[0]
    return losses, [
        line for line in lines if line.startswith(('teacher on', 'the teacher teaches'))
    ]


def test_it_teaches_as_the_teacher_of_the_same_classes_does(
    detector, teacher_of_more, start, tmp_path
):
    detector.train_cfg.update(max_iters=2, val_interval=3)
    detector.custom_hooks[0].check_teacher = 4
    losses, told = run(start, detector, tmp_path / 'same' / 'work')
    detector.custom_hooks[0].teacher.update(teacher_of_more)
    mapped, said = run(start, detector, tmp_path / 'more' / 'work')
    assert said == [
        'the teacher teaches 12 of its 14 classes by name; left out are comet, moon',
        *told,
    ]
    torch.testing.assert_close(torch.tensor(mapped), torch.tensor(losses), rtol=1e-4, atol=1e-6)


def test_objects_of_classes_that_it_lacks_are_not_taught(detector, teacher_of_more, start):
    detector.train_cfg.update(max_iters=3, val_interval=4)
    hook = detector.custom_hooks[0]
    hook.teacher.update(teacher_of_more)
    del hook.teacher['class_map']
    with pytest.raises(ValueError, match=r"only the student \['.*'\]; expected a teacher that has"):
        start(detector).train()
    hook.teacher.unmapped = 'ignore'
    runner = start(detector)
    batches = []
    watcher = next(each for each in runner.hooks if hasattr(each, 'watchers'))
    watcher.watchers.append(lambda batch: batches.append(batch.logits))
    runner.train()
    labels = torch.cat([batch.labels for batch in batches])
    assert (labels == 9).any()
    assert torch.equal(torch.cat([batch.weight for batch in batches]) == 0, labels == 9)
