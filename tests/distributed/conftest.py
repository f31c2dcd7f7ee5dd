"""One launch of all quick runs."""

import pytest
from many_processes import (
    CTKD,
    DKD,
    DKD_FOREGROUND,
    EXACT,
    SLD,
    SORTKD,
    Jobs,
    classifier,
    detector,
    four_epochs,
    guesser,
    one_object,
    seven_tests,
)


@pytest.fixture(scope='session')
def launched(tmp_path_factory, pictures, teacher_weights, toy_data, random_teacher):
    """The quick runs, all of one launch."""
    jobs = Jobs(tmp_path_factory.mktemp('many'))
    whole = jobs.add('whole', four_epochs(pictures, teacher_weights), [2])
    cfg = four_epochs(pictures, teacher_weights)
    cfg.custom_hooks.append(dict(type='Strike', how='stop', rank=1, at=4))
    stopped = jobs.add('stopped', cfg, [2])
    cfg = four_epochs(pictures, teacher_weights)
    cfg.resume, cfg.load_from = True, str(stopped / '2/stopped_iter_10.pth')
    jobs.add('resumed', cfg, [2])

    for name, cfg in (
        ('sortkd', classifier(pictures, teacher_weights)),
        ('dkd', classifier(pictures, teacher_weights, [DKD])),
        ('ctkd', classifier(pictures, teacher_weights, [CTKD])),
        ('sld', classifier(pictures, teacher_weights, [SLD])),
    ):
        cfg.model.data_preprocessor.type = 'DoublePreprocessor'
        if name == 'sld':
            cfg.model.data_preprocessor.num_views = 2
        jobs.add(name, cfg, **EXACT)
    terms = [SORTKD, DKD_FOREGROUND, CTKD]
    jobs.add('detector', detector(toy_data, random_teacher, terms), **EXACT, detection=True)
    cfg = detector(toy_data, random_teacher, terms, student_weight=0.0)
    cfg.train_dataloader.dataset.ann_file = one_object(toy_data)
    cfg.train_dataloader.sampler.shuffle = False
    jobs.add('one object', cfg, [1, 2], **EXACT, detection=True)

    cfg = classifier(seven_tests(pictures, tmp_path_factory), teacher_weights)
    cfg.test_dataloader.batch_size = 3
    cfg.test_evaluator = [
        dict(type='sortkd_det.Accuracy', topk=(1, 2), per_class=True),
        dict(type='Confidence'),
    ]
    cfg.load_from = str(whole / '2/epoch_4.pth')
    jobs.add('accuracy', cfg, test=True)
    jobs.add('precision', guesser(tmp_path_factory), test=True, detection=True)
    cfg = four_epochs(pictures, teacher_weights)
    cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    cfg.load_from = str(whole / '2/epoch_4.pth')
    jobs.add('validated', cfg, [1], test=True)
    cfg = classifier(pictures, teacher_weights, check_teacher=6)
    jobs.add('checked', cfg, [1, 2])
    return jobs.start(), jobs.folder


@pytest.fixture(scope='session')
def results(launched):
    return launched[0]


@pytest.fixture(scope='session')
def folder(launched):
    return launched[1]
