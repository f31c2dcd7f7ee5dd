import json

from sortkd_det.studies.scalars import read_scalars


def write_part(work_dir, name, entries, tail=''):
    folder = work_dir / name / 'vis_data'
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(entry) + '\n' for entry in entries)
    (folder / 'scalars.json').write_text(text + tail)


def train(step, loss):
    return {'loss': loss, 'loss_cls': loss / 2, 'iter': step, 'epoch': 1, 'step': step}


def val(epoch, ap):
    return {'coco/bbox_mAP': ap, 'step': epoch}


def test_training_and_validation_are_told_apart(tmp_path):
    write_part(tmp_path, '20260101_000000', [train(25, 2.0), train(50, 1.0), val(1, 0.1)])
    scalars = read_scalars(tmp_path)
    assert scalars.series('loss_cls') == ([25, 50], [1.0, 0.5])
    assert scalars.series('coco/bbox_mAP') == ([1], [0.1])
    assert scalars.series('loss_distill') == ([], [])


def test_a_resumed_part_replaces_what_was_lost(tmp_path):
    write_part(
        tmp_path,
        '20260101_000000',
        [train(25, 3.0), val(1, 0.1), train(50, 2.0), val(2, 0.2), train(75, 1.9)],
    )
    write_part(tmp_path, '20260101_010000', [train(50, 2.5), val(2, 0.25)])
    scalars = read_scalars(tmp_path)
    assert scalars.series('loss') == ([25, 50], [3.0, 2.5])
    assert scalars.series('coco/bbox_mAP') == ([1, 2], [0.1, 0.25])


def test_a_resumed_part_that_logged_nothing_yet_drops_nothing(tmp_path):
    write_part(tmp_path, '20260101_000000', [train(25, 3.0)])
    write_part(tmp_path, '20260101_010000', [])
    assert read_scalars(tmp_path).series('loss') == ([25], [3.0])


def test_half_a_line_is_left_out(tmp_path):
    write_part(tmp_path, '20260101_000000', [train(25, 3.0)], tail='{"loss": 2.0, "st')
    assert read_scalars(tmp_path).series('loss') == ([25], [3.0])


def test_scalars_of_tests_are_not_those_of_the_run(tmp_path):
    write_part(tmp_path / 'test', '20260101_000000', [val(0, 0.5)])
    assert read_scalars(tmp_path).val == {}


def test_an_empty_folder_has_no_scalars(tmp_path):
    assert read_scalars(tmp_path / 'absent').train == {}
