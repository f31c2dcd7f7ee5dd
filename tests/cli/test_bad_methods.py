"""Methods that are none."""

import pytest
from command_lines import BY_TOY_TEACHER, DISTIL, ON_PICTURES, ON_TOY, TAUGHT, TWO_VIEWS

ROWS = [
    pytest.param(
        TAUGHT + ' method.0.processors=[Sort]',
        KeyError,
        "unknown processor 'Sort'; registered are: SortLogits",
        id='an unknown processor',
    ),
    pytest.param(
        TAUGHT + ' method.0.loss.type=KLLoss',
        KeyError,
        ["unknown loss 'KLLoss'; registered are:", 'KDLoss'],
        id='an unknown loss',
    ),
    pytest.param(
        TAUGHT + ' method.0.loss=CrossEntropyLoss',
        KeyError,
        ["unknown loss 'CrossEntropyLoss'; registered are:", 'KDLoss'],
        id='a loss that is not one between logits',
    ),
    pytest.param(
        TAUGHT + ' method.0.loss.temperature=0',
        ValueError,
        'temperature must be a finite number > 0, got 0',
        id='a temperature of 0',
    ),
    pytest.param(
        TAUGHT + ' method.0.loss.temperature=-1.5',
        ValueError,
        'temperature must be a finite number > 0, got -1.5',
        id='a temperature below 0',
    ),
    pytest.param(
        TAUGHT + ' method.0.loss.temperature=[]',
        ValueError,
        'temperature must be a number or a list of at least one, got []',
        id='no temperatures',
    ),
    pytest.param(
        TAUGHT + ' method.0.loss.temperature=hot',
        TypeError,
        "loss KDLoss: temperature must be a number, got 'hot'",
        id='a temperature in words',
    ),
    pytest.param(
        TAUGHT + ' method.0.loss.loss_weight=-1',
        ValueError,
        'loss_weight must be a finite number ≥ 0, got -1',
        id='a weight of the loss below 0',
    ),
    pytest.param(
        TAUGHT + ' method.0.loss.tau=4',
        TypeError,
        ['loss KDLoss:', "unexpected keyword argument 'tau'; it takes temperature, loss_weight, "],
        id='a misspelled argument of the loss',
    ),
    pytest.param(
        DISTIL + ' method.0.loss.tau=4 --data-root {work}/nowhere',
        TypeError,
        ['loss KDLoss:', "unexpected keyword argument 'tau'; it takes temperature, loss_weight, "],
        id='a misspelled argument is told before the data are looked at',
    ),
    pytest.param(
        TAUGHT + ' method.0.rows=all',
        TypeError,
        "unexpected keyword argument 'rows'; it takes loss, of, target, processors, ",
        id='a misspelled argument of the term',
    ),
    pytest.param(
        TAUGHT + ' method.0.weight=-0.5',
        ValueError,
        'weight must be a finite number ≥ 0, got -0.5',
        id='a weight of the term below 0',
    ),
    pytest.param(
        TAUGHT + ' student_weight=-0.5',
        ValueError,
        'student_weight must be a finite number ≥ 0, got -0.5',
        id='a weight of the student below 0',
    ),
    pytest.param(
        TAUGHT + ' method.0.loss_rows=some',
        ValueError,
        "loss_rows must be one of 'all', 'foreground', got 'some'",
        id='unknown rows',
    ),
    pytest.param(
        TAUGHT + ' method.0.target=label',
        ValueError,
        "target must be one of 'teacher', 'student', got 'label'",
        id='an unknown target',
    ),
    pytest.param(
        TAUGHT + ' method.0.confidence_quantile=2',
        ValueError,
        'confidence_quantile must lie in [0, 1], got 2',
        id='a quantile of 2',
    ),
    pytest.param(
        TAUGHT + ' method.0.begin=0',
        ValueError,
        'begin must be at least 1, got 0',
        id='a beginning before the run',
    ),
    pytest.param(
        TAUGHT + ' method.0.begin=30',
        ValueError,
        ['begins in epoch 30 and the run ends after 1:', '; lower begin'],
        id='a beginning after the run',
    ),
    pytest.param(
        TAUGHT + ' method.0.begin=3 method.0.end=2',
        ValueError,
        'end must be at least 3, got 2',
        id='an end before the beginning',
    ),
    pytest.param(
        TAUGHT + ' method.0.warmup=-1',
        ValueError,
        'warmup must be at least 0, got -1',
        id='a warm-up below 0',
    ),
    pytest.param(
        TAUGHT + ' method=[]',
        ValueError,
        'method needs at least one term, e.g. [dict(loss="KDLoss")]',
        id='no terms',
    ),
    pytest.param(
        TAUGHT + ' method=SortKD',
        TypeError,
        'method must be a list of terms, [dict(loss="KDLoss")], got \'SortKD\'',
        id='a method by its name',
    ),
    pytest.param(
        TAUGHT + ' method=[KDLoss]',
        TypeError,
        "a term of a method is dict(loss=…, …), got 'KDLoss'",
        id='terms by their names',
    ),
    pytest.param(
        TWO_VIEWS + ' method.1.views=second model.data_preprocessor.num_views=1',
        ValueError,
        "the data gives one view; expected a data pipeline with two, or views='first'",
        id='a second view of data with one',
    ),
    pytest.param(
        'train.py {two_hooks} ' + ON_PICTURES,
        ValueError,
        'custom_hooks has several DistillHooks, expected one',
        id='two hooks that distil',
    ),
    pytest.param(
        'train.py {audit} ' + ON_PICTURES,
        ValueError,
        'this run has none: add one to custom_hooks, or take TeacherAuditHook out',
        id='an audit of no distillation',
    ),
    pytest.param(
        DISTIL + ' audit.interval=0',
        ValueError,
        'interval must be at least 1, got 0',
        id='an audit each 0 iterations',
    ),
    pytest.param(
        'train.py {rpn} ' + BY_TOY_TEACHER + ' ' + ON_TOY,
        ValueError,
        ['no adapter knows', 'the student, RPN (bbox_head=RPNHead);', 'RoIHeadAdapter'],
        id='a student that tells no classes apart',
    ),
    pytest.param(
        'train.py {cascade} '
        + BY_TOY_TEACHER
        + ' '
        + ON_TOY
        + ' model.roi_head.bbox_head.0.num_classes=12 model.roi_head.bbox_head.1.num_classes=12'
        + ' model.roi_head.bbox_head.2.num_classes=12'
        + ' model.roi_head.bbox_head.1.loss_cls.use_sigmoid=True',
        ValueError,
        ['the student classifies by CrossEntropyLoss with a sigmoid per class;', 'softmax over C'],
        id='a cascade of sigmoids',
    ),
    pytest.param(
        'train.py configs/toy/student.py --teacher configs/toy/teacher.py --method sortkdd',
        FileNotFoundError,
        ["no method 'sortkdd' in configs/_base_/methods; there are: ctkd,", ';', 'sortkdd.py'],
        id='an unknown name',
    ),
    pytest.param(
        'train.py configs/toy/student.py --teacher configs/toy/teacher.py --method sortkd.py',
        FileNotFoundError,
        'there is no file sortkd.py; the method of configs/_base_/methods is named without its '
        'end: --method sortkd',
        id='a known name with .py',
    ),
    pytest.param(
        'train.py configs/toy/student.py --method no/method.py',
        FileNotFoundError,
        'config file no/method.py does not exist',
        id='a file that is not there',
    ),
    pytest.param(
        'train.py configs/toy/student.py --method {empty}',
        ValueError,
        'empty.py: expected method = [dict(loss=…), …] in this file',
        id='a file without a method',
    ),
    pytest.param(
        'train.py configs/toy/student.py --method {misspelled}',
        ValueError,
        'misspelled.py: student_wieght means nothing; is student_weight meant?',
        id='a file with a misspelled variable',
    ),
    pytest.param(
        'train.py configs/toy/student.py --method kd',
        ValueError,
        '--method kd needs a teacher: give --teacher CONFIG',
        id='a method without a teacher',
    ),
    pytest.param(
        'train.py configs/cifar100.py --teacher resnet56 --method dkd',
        ValueError,
        [
            '--method dkd is set by pair on this data set: --pair must be one of '
            'resnet56-resnet20,',
            '; got None',
        ],
        id='a method that is set by pair, without one',
    ),
]


@pytest.mark.parametrize(('command', 'exception', 'says'), ROWS)
def test_it_is_said_in_one_line(is_refused, command, exception, says):
    is_refused(command, exception, says)
