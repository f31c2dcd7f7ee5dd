"""What users get wrong, and what they are told: one line, before training starts."""

import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config

from sortkd_det.cli.errors import run_tool

REPO = Path(__file__).parents[2]

# Command lines that would do, to which a row adds what is wrong; of two equal options the later
# one counts. A name in braces is one of these, or a file or folder that `Given` makes.
_LOADERS = ' '.join(
    f'{split}_dataloader.num_workers=0 {split}_dataloader.persistent_workers=False'
    for split in ('train', 'val', 'test')
)
_RUN = '--work-dir {work} --cfg-options experiment_name={name} train_cfg.max_epochs=1'
RUNS = {
    'ON_TOY': f'--data-root {{toy}} {_RUN} {_LOADERS}',
    'ON_PICTURES': f'--data-root {{pictures}} {_RUN} model.num_classes=3',
    'DETECTOR': 'train.py configs/toy/student.py {ON_TOY}',
    'DISTIL': 'train.py configs/toy/sortkd.py --teacher-checkpoint {teacher} {ON_TOY}',
    'ALONE': 'train.py configs/clothing/student.py {ON_PICTURES}',
    'TAUGHT': 'train.py configs/clothing/sortkd.py {BY_RESNET14}',
    'TWO_VIEWS': 'train.py configs/clothing/sld.py {BY_RESNET14}',
    'BY_RESNET14': '--teacher-checkpoint {resnet14} {ON_PICTURES} '
    'custom_hooks.0.teacher.config.model.num_classes=3 '
    'custom_hooks.0.teacher.config.model.type=sortkd_det.cifar/resnet14',
    'TEST': 'test.py configs/clothing/student.py {resnet14} {ON_PICTURES} '
    'model.type=sortkd_det.cifar/resnet14',
    'REPRODUCE': 'reproduce.py configs/cifar100 --work-dir {work} --pairs resnet56-resnet20 '
    '--methods kd',
    'VOC': 'to_coco.py voc {voc} --out {work} --splits train --classes',
    'YOLO': 'to_coco.py yolo --out {work}',
    'DEMO': 'demo.py --work-dir {work} --data-root {work}/data',
}

# What is wrong; the command line; the exception behind it, and what its line says, with ... for
# anything.
TABLE = """
== configs ==

no such file
    train.py no/config.py
    FileNotFoundError: config file no/config.py does not exist

a folder
    train.py configs/toy
    FileNotFoundError: config file configs/toy does not exist

no Python
    train.py {text}
    ValueError: text.txt cannot be read: OSError: Only py/yml/yaml/json type are supported

a syntax error
    student_config.py {syntax}
    ValueError: syntax.py cannot be read: SyntaxError: ... was never closed ... line 2

an unknown name
    train.py {undefined}
    ValueError: cannot be read: NameError: name 'sgd' is not defined (...undefined.py, line 2)

no base file
    train.py {lost_base}
    ValueError: lost_base.py cannot be read: ... No such file or directory: ...nowhere.py

no such variable in the base file
    student_config.py {lost_variable}
    ValueError: object has no attribute 'method' (...lost_variable.py, line 2)

a module that cannot be imported
    train.py {lost_module}
    ValueError: cannot be read: ImportError: Failed to import ... no_such_module

no data root to replace
    train.py {empty} --data-root {toy}
    ValueError: --data-root: this config names no data_root that could be replaced

no pair chosen
    train.py configs/cifar100/kd.py
    ValueError: --pair must be one of resnet56-resnet20, ...; got None

an unknown pair
    student_config.py configs/clothing/kd.py --pair vgg13-vgg8
    ValueError: --pair must be one of resnet20-resnet8; got 'vgg13-vgg8'

a pair where there are none
    train.py configs/toy/kd.py --pair a-b
    ValueError: --pair a-b: this config has no table of pairs

== settings ==

a misspelled setting
    {ALONE} optim_wraper.optimizer.lr=1
    ValueError: no setting optim_wraper; is optim_wrapper meant?

a hook that is not there
    {TAUGHT} custom_hooks.7.student_weight=1
    ValueError: --cfg-options custom_hooks.7.student_weight=… finds no place: ... Index 7 exceeds

a setting within a number
    {ALONE} train_cfg.max_epochs.x=1
    ValueError: --cfg-options train_cfg.max_epochs.x=… finds no place

a variable that has been copied by then
    {TAUGHT} method.0.weight=2.0
    ValueError: would be without effect: ... write custom_hooks.0.…

the data root as a variable
    {ALONE} data_root=nowhere
    ValueError: would be without effect: ... write --data-root DIR

no epochs
    {ALONE} train_cfg.max_epochs=0
    ValueError: train_cfg.max_epochs must be at least 1, got 0

half an epoch
    {ALONE} train_cfg.max_epochs=0.5
    TypeError: train_cfg.max_epochs must be a whole number, got 0.5

validation each 0 epochs
    {ALONE} train_cfg.val_interval=0
    ValueError: train_cfg.val_interval must be at least 1, got 0

logs each 0 iterations
    {ALONE} default_hooks.logger.interval=0
    ValueError: default_hooks.logger.interval must be at least 1, got 0

checkpoints each half epoch
    {ALONE} default_hooks.checkpoint.interval=0.5
    TypeError: default_hooks.checkpoint.interval must be a whole number, got 0.5

batches of 0
    {ALONE} val_dataloader.batch_size=0
    ValueError: val_dataloader.batch_size must be at least 1, got 0

workers below 0
    {ALONE} train_dataloader.num_workers=-1
    ValueError: train_dataloader.num_workers must be at least 0, got -1

batch sizes of which one is 0
    {ALONE} train_dataloader.batch_size=[8,0]
    ValueError: train_dataloader.batch_size must be at least 1, got 0

a number where hooks belong
    {ALONE} custom_hooks=5
    TypeError: custom_hooks must be a list of hooks, got 5

a number where settings belong
    {ALONE} env_cfg=5
    TypeError: env_cfg must be settings in a dict, got 5

a name where a data set belongs
    {ALONE} train_dataloader.dataset=CIFAR
    TypeError: train_dataloader.dataset must be settings in a dict, got 'CIFAR'

a number beyond all meaning
    {ALONE} train_cfg.max_epochs=99999999999999999999999
    OverflowError: too large

a classifier without what prepares its images
    {ALONE} model.data_preprocessor=None
    TypeError: a batch for cifar/resnet8 must be ... got ['epoch', ...; ... sortkd_det.ImagePrep

the best by a metric that is not there
    {ALONE} default_hooks.checkpoint.save_best=top1 default_hooks.checkpoint.save_last=False
    ValueError: save_best='top1' is none of the metrics of the validation: accuracy/top1, ...

a seed below 0
    {ALONE} randomness.seed=-1
    ValueError: randomness.seed must be at least 0, got -1

a learning rate below 0
    {ALONE} optim_wrapper.optimizer.lr=-1
    ValueError: optim_wrapper.optimizer.lr must be a finite number ≥ 0, got -1

a learning rate in words
    {ALONE} optim_wrapper.optimizer.lr=low
    TypeError: optim_wrapper.optimizer.lr must be a number, got 'low'

an unknown network
    {ALONE} model.type=sortkd_det.cifar/resnet9
    KeyError: unknown model 'sortkd_det.cifar/resnet9'; is one of these meant: ...cifar/resnet8,

an unknown detector
    {DETECTOR} model.type=FasterRCN
    KeyError: unknown model 'FasterRCN'; is one of these meant: mmdet.FasterRCNN

an unknown data set
    {ALONE} train_dataloader.dataset.type=Image
    KeyError: unknown dataset 'Image'; is one of these meant: ...sortkd_det.ImageNet

an unknown hook that resembles none
    {ALONE} default_hooks.logger.type=Xyzzy
    KeyError: unknown hook 'Xyzzy'; tools/list_methods.py lists ... to be named in custom_imports

a hook without its scope
    {TAUGHT} custom_hooks.0.type=DistillHook
    KeyError: unknown hook 'DistillHook'; is one of these meant: sortkd_det.DistillHook

an unknown optimizer
    {ALONE} optim_wrapper.optimizer.type=AdamV
    KeyError: unknown optimizer 'AdamV'; is one of these meant: Adam

an unknown schedule
    {ALONE} param_scheduler.type=CosineLR
    KeyError: unknown parameter scheduler 'CosineLR'; is one of these meant: ...CosineAnnealingLR

an unknown collate_fn
    {ALONE} train_dataloader.collate_fn.type=colate
    KeyError: unknown function 'colate'; is one of these meant: ...collate

an unknown metric
    {ALONE} val_evaluator.type=Acuracy
    KeyError: unknown metric 'Acuracy'; is one of these meant: sortkd_det.Accuracy

a misspelled argument
    {ALONE} model.num_clases=3
    TypeError: unexpected keyword argument 'num_clases'

half precision without a GPU
    {DETECTOR} --amp
    ValueError: --amp needs a GPU, and torch sees none

no batch size to scale the rate from
    {DETECTOR} --auto-scale-lr
    ValueError: --auto-scale-lr: this config has no auto_scale_lr.base_batch_size

a batch size of 0 to scale the rate from
    {ALONE} auto_scale_lr.base_batch_size=0
    ValueError: auto_scale_lr.base_batch_size must be at least 1, got 0

a launcher by hand
    {ALONE} --launcher pytorch
    ValueError: but RANK is not set: use tools/dist_train.sh

a launcher for GPUs without one
    {ALONE} --launcher slurm
    ValueError: --launcher slurm needs GPUs; on CPUs use tools/dist_train.sh

a work dir that is a file
    {ALONE} --work-dir {text}
    FileExistsError: --work-dir: ...text.txt cannot be a folder to write to ...; name another

a work dir within a file
    {ALONE} --work-dir {text}/work
    NotADirectoryError: --work-dir: ...text.txt/work cannot be a folder to write to

a work dir that may not be written
    {ALONE} --work-dir /sys/work
    PermissionError: --work-dir: /sys/work cannot be a folder to write to

== methods ==

an unknown processor
    {TAUGHT} custom_hooks.0.method.0.processors=[Sort]
    KeyError: unknown processor 'Sort'; registered are: SortLogits

an unknown loss
    {TAUGHT} custom_hooks.0.method.0.loss.type=KLLoss
    KeyError: unknown loss 'KLLoss'; registered are: ...KDLoss

a loss that is not one between logits
    {TAUGHT} custom_hooks.0.method.0.loss=CrossEntropyLoss
    KeyError: unknown loss 'CrossEntropyLoss'; registered are: ...KDLoss

a temperature of 0
    {TAUGHT} custom_hooks.0.method.0.loss.temperature=0
    ValueError: temperature must be a finite number > 0, got 0

a temperature below 0
    {TAUGHT} custom_hooks.0.method.0.loss.temperature=-1.5
    ValueError: temperature must be a finite number > 0, got -1.5

no temperatures
    {TAUGHT} custom_hooks.0.method.0.loss.temperature=[]
    ValueError: temperature must be a number or a list of at least one, got []

a temperature in words
    {TAUGHT} custom_hooks.0.method.0.loss.temperature=hot
    TypeError: loss KDLoss: temperature must be a number, got 'hot'

a weight of the loss below 0
    {TAUGHT} custom_hooks.0.method.0.loss.loss_weight=-1
    ValueError: loss_weight must be a finite number ≥ 0, got -1

a misspelled argument of the loss
    {TAUGHT} custom_hooks.0.method.0.loss.tau=4
    TypeError: loss KDLoss: ... unexpected keyword argument 'tau'

a misspelled argument of the term
    {TAUGHT} custom_hooks.0.method.0.rows=all
    TypeError: unexpected keyword argument 'rows'

a weight of the term below 0
    {TAUGHT} custom_hooks.0.method.0.weight=-0.5
    ValueError: weight must be a finite number ≥ 0, got -0.5

a weight of the student below 0
    {TAUGHT} custom_hooks.0.student_weight=-0.5
    ValueError: student_weight must be a finite number ≥ 0, got -0.5

unknown rows
    {TAUGHT} custom_hooks.0.method.0.loss_rows=some
    ValueError: loss_rows must be one of 'all', 'foreground', got 'some'

an unknown target
    {TAUGHT} custom_hooks.0.method.0.target=label
    ValueError: target must be one of 'teacher', 'student', got 'label'

a quantile of 2
    {TAUGHT} custom_hooks.0.method.0.confidence_quantile=2
    ValueError: confidence_quantile must lie in [0, 1], got 2

a beginning before the run
    {TAUGHT} custom_hooks.0.method.0.begin=0
    ValueError: begin must be at least 1, got 0

a beginning after the run
    {TAUGHT} custom_hooks.0.method.0.begin=30
    ValueError: begins in epoch 30 and the run ends after 1: ...; lower begin

an end before the beginning
    {TAUGHT} custom_hooks.0.method.0.begin=3 custom_hooks.0.method.0.end=2
    ValueError: end must be at least 3, got 2

a warm-up below 0
    {TAUGHT} custom_hooks.0.method.0.warmup=-1
    ValueError: warmup must be at least 0, got -1

no terms
    {TAUGHT} custom_hooks.0.method=[]
    ValueError: method needs at least one term, e.g. [dict(loss="KDLoss")]

a method by its name
    {TAUGHT} custom_hooks.0.method=SortKD
    TypeError: method must be a list of terms, [dict(loss="KDLoss")], got 'SortKD'

terms by their names
    {TAUGHT} custom_hooks.0.method=[KDLoss]
    TypeError: a term of a method is dict(loss=…, …), got 'KDLoss'

a second view of data with one
    {TWO_VIEWS} custom_hooks.0.method.1.views=second model.data_preprocessor.num_views=1
    ValueError: the data gives one view; expected a data pipeline with two, or views='first'

two hooks that distil
    train.py {two_hooks} {ON_PICTURES}
    ValueError: custom_hooks has several DistillHooks, expected one

an audit of no distillation
    train.py {audit} {ON_PICTURES}
    ValueError: this run has none: add one to custom_hooks, or take TeacherAuditHook out

an audit each 0 iterations
    {DISTIL} custom_hooks.1.interval=0
    ValueError: interval must be at least 1, got 0

a dense head
    train.py {retina} {ON_TOY}
    ValueError: no adapter knows ... RetinaNet (bbox_head=RetinaHead); ... RoIHeadAdapter

a cascade
    train.py {cascade} --teacher-checkpoint {teacher} {ON_TOY}
        model.roi_head.bbox_head.0.num_classes=12 model.roi_head.bbox_head.1.num_classes=12
        model.roi_head.bbox_head.2.num_classes=12
    ValueError: the student is a CascadeRCNN with CascadeRoIHead; ... but neither cascades

== teachers ==

no such file
    {TAUGHT} --teacher-checkpoint no/such.pth
    FileNotFoundError: checkpoint no/such.pth does not exist

a folder
    {TAUGHT} --teacher-checkpoint {pictures}
    FileNotFoundError: checkpoint ...pictures... does not exist

a text
    {TAUGHT} --teacher-checkpoint {text}
    ValueError: text.txt is not a PyTorch checkpoint, or is damaged

an empty file
    {TAUGHT} --teacher-checkpoint {empty}
    ValueError: empty.py is not a PyTorch checkpoint, or is damaged

a file that was cut off
    {TAUGHT} --teacher-checkpoint {cut}
    ValueError: cut.pth is not a PyTorch checkpoint, or is damaged

no weights
    {TAUGHT} --teacher-checkpoint {no_weights}
    ValueError: holds no weights: expected a dict of tensors, ...; its keys are ['epoch']

an object
    {TAUGHT} --teacher-checkpoint {with_object}
    CheckpointRefused: loading it could run code ... save its weights alone

another network
    {TAUGHT} custom_hooks.0.teacher.config.model.type=sortkd_det.cifar/resnet20
    ValueError: do not fit this cifar/resnet20 ... 30 missing: layer1.2.conv1.weight

another detector
    {DISTIL} custom_hooks.0.teacher.config=configs/toy/student.py
    ValueError: do not fit this FasterRCNN ... of another shape: backbone.conv1.weight (32,

a few other names
    {TAUGHT} --teacher-checkpoint {renamed}
    ValueError: 8 missing: conv1.weight; ... … | 9 unexpected: other.0; other.1; ...

another name of a class
    {TAUGHT} --teacher-checkpoint {renamed_class}
    ValueError: only the teacher has ['Red'], only the student ['red']; expected the same list

a class less
    {TAUGHT} --teacher-checkpoint {fewer_classes}
    ValueError: 2 and 3; only the teacher has [], only the student ['red']; expected the same

another order of classes
    {TAUGHT} --teacher-checkpoint {reversed_classes}
    ValueError: class 0 is 'red' for the teacher and 'blue' here; give metainfo.classes

another number of classes
    {TAUGHT} custom_hooks.0.teacher.config.model.num_classes=4
        --teacher-checkpoint {four_classes}
    ValueError: differ in their number of classes: 4 and 3; expected the same classes

a detector for a classifier
    {TAUGHT} custom_hooks.0.teacher.config=configs/toy/teacher.py --teacher-checkpoint {teacher}
    ValueError: teacher and student differ in their classes: 12 and 3; only the teacher has

none
    train.py configs/toy/sortkd.py {ON_TOY} custom_hooks.0.teacher.checkpoint=None
    ValueError: no teacher named: give its weights by --teacher-checkpoint PATH

two
    {DISTIL} custom_hooks.0.teacher.checkpoint=other.pth
    ValueError: teacher given twice: by --teacher-checkpoint and by --cfg-options

one for a student that is trained alone
    {DETECTOR} --teacher-checkpoint {teacher}
    ValueError: --teacher-checkpoint: this config has no sortkd_det.DistillHook in custom_hooks

a list
    {TAUGHT} custom_hooks.0.teacher=[1]
    TypeError: teacher must be dict(config=…, checkpoint=…), got [1]

a misspelled argument
    {TAUGHT} custom_hooks.0.teacher.weights=x
    TypeError: teacher takes config, checkpoint, cfg_options, dtype, ... got ['weights'] too

options that are none
    {TAUGHT} custom_hooks.0.teacher.cfg_options=x
    TypeError: teacher.cfg_options must be dict('model.…': …), got 'x'

no config
    {DISTIL} custom_hooks.0.teacher.config=no/teacher.py
    FileNotFoundError: config file no/teacher.py does not exist

a config that cannot be read
    {DISTIL} custom_hooks.0.teacher.config={syntax}
    ValueError: syntax.py cannot be read: SyntaxError

a config with a misspelled argument
    {DISTIL} custom_hooks.0.teacher.config={odd_teacher}
    ValueError: the teacher cannot be built from ...odd_teacher.py: ... keyword argument 'pretraind'

a config of an unknown model
    {DISTIL} custom_hooks.0.teacher.config={unknown_teacher}
    ValueError: the teacher cannot be built from ...: unknown model 'FasterRCN'; is one ... meant:

a config of MMDetection 2.x that cannot be read
    {DISTIL} custom_hooks.0.teacher.config={old_teacher}
    ValueError: 2.x whose Normalize and Pad cannot be read ...; add to its model: data_preprocessor

a config without normalisation
    {DISTIL} custom_hooks.0.teacher.config={bare_teacher}
    ValueError: of the teacher does not tell how its images ... Add to its model, ... std=[58.395,

a config without a model
    {DISTIL} custom_hooks.0.teacher.config={empty}
    ValueError: the config of the teacher has no model

tested on 0 images
    {TAUGHT} custom_hooks.0.check_teacher=0
    ValueError: check_teacher must be at least 1, got 0

== checkpoints ==

no such file to resume from
    {DETECTOR} --resume no/such.pth
    FileNotFoundError: checkpoint no/such.pth does not exist

a file to resume from that was cut off
    {ALONE} --resume {cut}
    ValueError: cut.pth is not a PyTorch checkpoint, or is damaged

weights to resume from
    {ALONE} --resume {resnet14}
    ValueError: no state of a run ...; ... leave --resume out and give --cfg-options load_from=

a run of another network to resume from
    {ALONE} --resume {run_of_resnet14}
    ValueError: do not fit this cifar/resnet8 ... 36 unexpected: layer1.1.conv1.weight

no such weights to begin with
    {ALONE} load_from=no/such.pth
    FileNotFoundError: checkpoint no/such.pth does not exist

weights of something else to begin with
    {DETECTOR} load_from={resnet14}
    ValueError: none of its 92 weights fits this FasterRCNN; it has conv1.weight, ...

no such file to test
    test.py configs/toy/student.py no/such.pth
    FileNotFoundError: checkpoint no/such.pth does not exist

a text to test
    test.py configs/clothing/student.py {text} {ON_PICTURES}
    ValueError: text.txt is not a PyTorch checkpoint, or is damaged

the teacher in the student's place
    test.py configs/toy/student.py {teacher} {ON_TOY}
    ValueError: do not fit this FasterRCNN ... 104 of another shape: backbone.conv1.weight (32,

a deeper network to test
    {TEST} model.type=sortkd_det.cifar/resnet8
    ValueError: do not fit this cifar/resnet8 ... 36 unexpected: layer1.1.conv1.weight

a network of fewer classes to test
    {TEST} model.num_classes=4
    ValueError: 2 of another shape: fc.weight (3, 64), the model has (4, 64)

predictions as JSON
    {TEST} --out predictions.json
    ValueError: --out must name a .pkl or .pickle file, got predictions.json

predictions within a file
    {TEST} --out {text}/predictions.pkl
    FileExistsError: --out: ...text.txt cannot be a folder to write to

flips of a classifier
    {TEST} --tta
    ValueError: --show, --show-dir and --tta are for detectors

a student's config within a file
    student_config.py configs/toy/student.py --out {text}/student.py
    FileExistsError: --out: ...text.txt cannot be a folder to write to

== data of detectors ==

no such folder
    {DETECTOR} --data-root nowhere
    FileNotFoundError: file nowhere/annotations/train.json does not exist; --data-root DIR names

no such folder to test on
    test.py configs/toy/student.py {teacher} {ON_TOY} --data-root nowhere
    FileNotFoundError: file nowhere/annotations/val.json does not exist; --data-root DIR names

no JSON
    {DETECTOR} --data-root {no_json}
    ValueError: train.json is not JSON ...; expected COCO annotations

a list
    {DETECTOR} --data-root {a_list}
    ValueError: is not a COCO annotation file: it has no list under images

no list of boxes
    {DETECTOR} --data-root {no_list}
    ValueError: is not a COCO annotation file: it has no list under annotations

classes that are not there
    {DETECTOR} --data-root {fewer_categories}
    ValueError: 2 of the 12 classes of the config are not in ... ['circle', 'ellipse']; ... Set

one class, in brackets that make no tuple
    {DETECTOR} train_dataloader.dataset.metainfo.classes=circle
    ValueError: classes is the text 'circle'; expected a tuple of names, ('circle',) for one

a class twice
    {DETECTOR} train_dataloader.dataset.metainfo.classes=['circle','star','circle']
    ValueError: metainfo.classes names ['circle'] more than once

categories in another order than the classes
    {DETECTOR} --data-root {other_order}
    ValueError: in another order ... number 0 is ... in the file and 'circle' in the config... set

no boxes
    {DETECTOR} --data-root {no_boxes}
    ValueError: empty training set: ...train.json has 12 images and 0 boxes

no images
    {DETECTOR} --data-root {no_images}
    ValueError: empty training set: ...train.json has 0 images and 0 boxes

an image that is not there
    {DETECTOR} --data-root {lost_image}
    FileNotFoundError: 1 of the 12 images do not exist; the first is ....png; check data_root and

images named as on Windows
    {DETECTOR} --data-root {backslashes}
    FileNotFoundError: 12 of the 12 images have a file_name with backslashes, ...; write them with /

crowds alone
    {DETECTOR} --data-root {crowds}
    ValueError: empty training set: ...12 images and ... boxes, and all of them are crowds

crowds in words
    {DETECTOR} --data-root {crowds_in_words}
    ValueError: annotations have an iscrowd that is no number; the first is ...; expected 0 or 1

images that are all smaller than is wanted
    {DETECTOR} train_dataloader.dataset.filter_cfg.min_size=500
    ValueError: empty training set: ... all of the images are smaller than filter_cfg.min_size = 500

a root of all categories of the name of one
    {DETECTOR} --data-root {root_category}
    ValueError: share their name ...; no annotation is of the category with the id 0 ...: take it

a metric that reads another file
    {DETECTOR} val_evaluator.ann_file={toy}/annotations/train.json
    ValueError: train.json: 6 of the 6 images of ...val.json, which the val_dataloader reads, ...set

a metric that reads a file of other images
    test.py configs/toy/student.py {teacher} {ON_TOY} test_evaluator.ann_file={other_images}
    ValueError: another id, file_name or size in it; ...; set test_evaluator.ann_file to ...val.json

a metric that reads a file of other categories
    {DETECTOR} val_evaluator.ann_file={other_order}/annotations/train.json
    ValueError: in another order ... set val_evaluator.ann_file to ...val.json, which the val_datalo

a metric that reads no boxes
    {DETECTOR} val_evaluator.ann_file={captions}
    ValueError: captions.json (val_evaluator.ann_file) is not a COCO annotation file: it has no list

a metric that reads nothing
    {DETECTOR} val_evaluator.ann_file=nowhere.json
    FileNotFoundError: val_evaluator.ann_file is nowhere.json, which does not exist; set it to

data of a classifier, looked at as a detector's
    check_data.py configs/clothing/student.py
    ValueError: configs/clothing/student.py is no config of MMDetection: ... looks at COCO files

a teacher of other classes, looked at beforehand
    check_data.py configs/toy/sortkd.py --data-root {toy} --teacher-checkpoint {renamed_class}
    ValueError: cannot teach this: teacher and student differ in their classes: 3 and 12

an image that does not decode
    {DETECTOR} --data-root {text_for_image}
    AssertionError: failed to load image: ....png

another number of classes
    {DETECTOR} model.roi_head.bbox_head.num_classes=80
    ValueError: bbox_head.num_classes is 80 and the data set has 12 classes: circle, ellipse

no VOC
    to_coco.py voc nowhere --out {work} --classes dog
    FileNotFoundError: nowhere/ImageSets/Main has no list for train, val, test; lists ... none

no such list of VOC
    {VOC} dog --splits val
    FileNotFoundError: has no list for val; lists for --splits there: cut, empty, lost, odd, train

an empty list of VOC
    {VOC} dog --splits empty
    ValueError: empty.txt lists no images

an unnamed class of VOC
    {VOC} cat
    ValueError: train.xml is no annotation of VOC's: object 1 (dog) is of no class of ... ['cat']

a class of VOC twice
    {VOC} dog dog
    ValueError: --classes must differ, got dog dog

an annotation of VOC that was cut off
    {VOC} dog --splits cut
    ValueError: cut.xml is no annotation of VOC's: it is no XML (unclosed token: line 1, column

a number of VOC that is none
    {VOC} dog --splits odd
    ValueError: odd.xml is no annotation of VOC's: <xmin> of object 1 (dog) is 'one', expected

an image of VOC that is not there
    {VOC} dog --splits lost
    FileNotFoundError: an image .../JPEGImages/lost.*, which lost.txt asks for, does not exist

VOC into a file
    {VOC} dog --out {text}
    FileExistsError: --out: ...text.txt cannot be a folder to write to

no YOLO
    {YOLO} nowhere
    FileNotFoundError: nowhere has neither data.yaml nor classes.txt

a row of YOLO in pixels
    {YOLO} {yolo}
    ValueError: labels/train/a.txt, line 2: it has a number that is no share of the image ...32

a split of YOLO that is not there
    {YOLO} {yolo} --splits val
    FileNotFoundError: data.yaml has nothing for val; for --splits there is: train

images of YOLO that were moved
    {YOLO} {moved_yolo}
    ValueError: data.yaml names 'images/train', which is outside of ...; ... by --data-root DIR

== data of classifiers ==

no such folder
    {ALONE} --data-root nowhere
    FileNotFoundError: folder nowhere/train does not exist

no CIFAR
    train.py configs/cifar100/student.py --data-root {pictures} --pair resnet56-resnet20
        --work-dir {work}
    FileNotFoundError: nothing is downloaded: get ... and place it at ...cifar-100-python.tar.gz

a class without a folder
    {ALONE} --data-root {fewer_folders}
    ValueError: val has no folder for 1 of the 3 classes: red

a folder without a class
    {ALONE} --data-root {more_folders}
    ValueError: val has 1 folders that are no class of the training split: pink

a class without images
    {ALONE} --data-root {empty_folder}
    ValueError: has no image of 1 of the 3 classes: red; files that end in .bmp, .jpeg

an image that does not decode
    {ALONE} --data-root {text_for_picture}
    ValueError: 1 of 12 images do not decode: ...red/0.png ... leave them out: skip_broken=True

an image that does not decode when it is wanted
    {ALONE} train_dataloader.dataset.in_memory=False --data-root {text_for_picture}
    ValueError: red/0.png is no JPEG, PNG, BMP or WebP image, or is cut off

an image that does not decode in a worker
    {ALONE} train_dataloader.dataset.in_memory=False train_dataloader.num_workers=1
        --data-root {text_for_picture}
    ValueError: error: ValueError: ...red/0.png is no JPEG, PNG, BMP or WebP image, or is cut off

labels out of range
    {ALONE} model.num_classes=2
    ValueError: model.num_classes is 2 and the data set has 3 classes: blue, green, red; expected

classes without labels
    {ALONE} model.num_classes=10
    ValueError: model.num_classes is 10 and the data set has 3 classes: blue, green, red; expected

one class
    {ALONE} model.num_classes=1
    ValueError: num_classes must be at least 2, got 1

images of 0 pixels
    {ALONE} train_dataloader.dataset.size=0
    ValueError: size must be at least 1, got 0

images too small for the network
    {ALONE} model.type=sortkd_det.cifar/vgg8 train_dataloader.dataset.size=4
    ValueError: cifar/vgg8 takes images of at least 8 × 8 pixels, got 4 × 4

a size in words
    {ALONE} train_dataloader.dataset.size=big
    TypeError: size must be a whole number, got 'big'

a batch of 1 with batch normalisation
    {ALONE} train_dataloader.batch_size=1 train_dataloader.dataset.size=4
    ValueError: cannot train on a batch of 1 at 4 × 4 pixels, ...; expected a batch size of at

three views
    {ALONE} model.data_preprocessor.num_views=3
    ValueError: num_views must be 1 or 2, got 3

a deviation of 0
    {ALONE} model.data_preprocessor.std=[0,0,0]
    ValueError: mean and std need one number a channel, std > 0

the mean of images up to 255
    {ALONE} model.data_preprocessor.mean=[123,117,104]
    ValueError: mean and std are of images between 0 and 1, not 255

padding below 0
    {ALONE} model.data_preprocessor.padding=-1
    ValueError: padding must be at least 0, got -1

the first 0 classes
    {ALONE} val_evaluator.topk=[0]
    ValueError: topk must be at least 1, got 0

== tables and the demo ==

an unknown method
    {REPRODUCE} kdd
    FileNotFoundError: no method 'kdd' in configs/cifar100; there are: ctkd, dkd, kd

a method twice
    {REPRODUCE} kd
    ValueError: --methods must differ, got kd kd

an unknown pair
    {REPRODUCE} --pairs resnet57-resnet20
    ValueError: --pair must be one of resnet56-resnet20, ...; got 'resnet57-resnet20'

a seed twice
    {REPRODUCE} --seeds 0 0
    ValueError: --seeds must differ, got 0 0

a seed below 0
    {REPRODUCE} --seeds -1
    ValueError: --seeds must be at least 0, got -1

a seed as a setting
    {REPRODUCE} --cfg-options randomness.seed=3
    ValueError: --cfg-options randomness.seed=3: takes key=value; seeds go to --seeds

a setting without a value
    {REPRODUCE} --cfg-options train_cfg.max_epochs
    ValueError: --cfg-options train_cfg.max_epochs: takes key=value

0 runs at once
    {REPRODUCE} --jobs 0
    ValueError: --jobs must be at least 1, got 0

GPUs below 0
    {REPRODUCE} --gpus -1
    ValueError: --gpus must be at least 0, got -1

0 images
    {REPRODUCE} --dry-run --num-images 0
    ValueError: --num-images must be at least 1, got 0

the third of two parts
    {REPRODUCE} --part 3/2
    ValueError: --part must be i/n with 1 ≤ i ≤ n, got 3/2

detectors
    reproduce.py configs/toy --methods kd
    ValueError: configs/toy/kd.py is a detector's: tables of accuracy/top1 are of classifiers

results in a file
    {REPRODUCE} --work-dir {text}
    FileExistsError: --work-dir: ...text.txt cannot be a folder to write to

a result of something else
    {REPRODUCE} --work-dir {damaged_result}
    ValueError: result.json holds no result of this tool ...; delete it to have it run anew

a result of other options
    {REPRODUCE} --work-dir {other_result}
    ValueError: was run with other options: found ...; name another --work-dir, or delete

a demo of 0 epochs
    {DEMO} --teacher-epochs 0
    ValueError: --teacher-epochs must be a finite number > 0, got 0

a demo of images below 0
    {DEMO} --num-val -3
    ValueError: --num-val must be a finite number > 0, got -3

a demo in a file
    demo.py --work-dir {text}
    FileExistsError: --work-dir: ...text.txt cannot be a folder to write to

a demo on other data
    {DEMO} --data-root {pictures}
    ValueError: is not a toy data set: it holds no toy_coco.json. Delete it ... or name another
"""
SKIPPED = {
    'settings: half precision without a GPU': torch.cuda.is_available(),
    'settings: a launcher for GPUs without one': torch.cuda.is_available(),
    'settings: a work dir that may not be written': not os.path.isdir('/sys'),
}

# -- what command lines name -------------------------------------------------

_TEACHER = (
    "custom_hooks = [dict(type='sortkd_det.DistillHook', method=_base_.method,\n"
    f"    teacher=dict(config='{REPO}/configs/toy/teacher.py'))]\n"
)
_RESNET18 = (
    'model = dict(\n    backbone=dict(depth=18, init_cfg=None),\n'
    '    neck=dict(in_channels=[64, 128, 256, 512]))\n'
)
_TOY_KD = f"'{REPO}/configs/_base_/schedules/toy.py', '{REPO}/configs/_base_/methods/kd.py'"
_TOY_TEACHER = f"_base_ = '{REPO}/configs/toy/teacher.py'\n"
TEXTS = {
    'odd_teacher.py': f'{_TOY_TEACHER}model = dict(pretraind=None)\n',
    'unknown_teacher.py': f"{_TOY_TEACHER}model = dict(type='FasterRCN')\n",
    'bare_teacher.py': f'{_TOY_TEACHER}model = dict(data_preprocessor=None)\n',
    'old_teacher.py': "model = dict(type='FasterRCNN')\n"
    "img_norm_cfg = dict(mean=[0, 0, 0], std='imagenet')\n",
    'text.txt': 'weights, allegedly',
    'empty.py': '',
    'syntax.py': "model = dict(\n    type='A', x=dict(\n",
    'undefined.py': 'lr = 0.1\noptimizer = dict(type=sgd, lr=lr)\n',
    'lost_base.py': "_base_ = './nowhere.py'\n",
    'lost_variable.py': f"_base_ = '{REPO}/configs/toy/student.py'\nhook = dict(m=_base_.method)\n",
    'lost_module.py': "custom_imports = dict(imports=['no_such_module'])\n",
    'two_hooks.py': f"_base_ = '{REPO}/configs/clothing/kd.py'\n"
    'custom_hooks = _base_.custom_hooks * 2\n',
    'audit.py': f"_base_ = '{REPO}/configs/clothing/student.py'\n"
    "custom_hooks = [dict(type='sortkd_det.TeacherAuditHook')]\n",
    'retina.py': f"_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', {_TOY_KD}]\n"
    f'{_RESNET18}{_TEACHER}',
    'cascade.py': f"_base_ = ['mmdet::_base_/models/cascade-rcnn_r50_fpn.py', {_TOY_KD}]\n"
    f'{_RESNET18}{_TEACHER}',
}
_XML = (
    '<annotation><size><width>40</width><height>30</height></size><object><name>dog</name>'
    '<difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>9</ymax>'
    '</bndbox></object></annotation>'
)


def changed(source, change):
    """A maker of a copy of a data set in which something is changed."""

    def make(self):
        root = Path(shutil.copytree(self[source], self.folder / source))
        change(root)
        return root

    return make


def annotated(change):
    """A maker of the toy set with other training annotations, or a text in their place."""

    def rewrite(root):
        path = root / 'annotations/train.json'
        data = change(json.loads(path.read_text()))
        path.write_text(data if isinstance(data, str) else json.dumps(data))

    return changed('toy', rewrite)


def with_boxes(**changes):
    """A change of each box."""
    return lambda data: {
        **data,
        'annotations': [{**annotation, **changes} for annotation in data['annotations']],
    }


def of_classes(*names):
    """A maker of the teacher's weights, trained on classes of these names."""
    return lambda self: self.save(
        {'state_dict': self.weights(), 'meta': {'dataset_meta': {'classes': names}}}
    )


def result(content):
    """A maker of a folder of results that holds one."""

    def make(self):
        path = self.folder / 'results/resnet56-resnet20/kd/seed0/result.json'
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
        return self.folder / 'results'

    return make


class Given(dict):
    """What the names in a command line stand for; a file is made when it is asked for.

    Args:
        folder: where it is made.
        shared: what there is: data sets and weights that fit.
    """

    def __init__(self, folder, **shared):
        super().__init__(shared, name=folder.name, work=folder / 'work')
        self.folder = folder

    def __missing__(self, name):
        if name in RUNS:
            return RUNS[name].format_map(self)
        text = next((text for text in TEXTS if text.split('.')[0] == name), None)
        if text is None:
            return getattr(self, name)()
        path = self.folder / text
        path.write_text(TEXTS[text])
        return path

    def save(self, checkpoint):
        torch.save(checkpoint, self.folder / 'checkpoint.pth')
        return self.folder / 'checkpoint.pth'

    def weights(self):
        return torch.load(self['resnet14'], weights_only=True)['model']

    no_json = annotated(lambda data: '{"images": [')
    a_list = annotated(lambda data: data['images'])
    no_list = annotated(lambda data: {**data, 'annotations': {}})
    no_boxes = annotated(lambda data: {**data, 'annotations': []})
    no_images = annotated(lambda data: {**data, 'images': [], 'annotations': []})
    fewer_categories = annotated(
        lambda data: {
            **data,
            'categories': data['categories'][2:],
            'annotations': [a for a in data['annotations'] if a['category_id'] > 2],
        }
    )
    other_order = annotated(lambda data: {**data, 'categories': data['categories'][::-1]})
    crowds = annotated(with_boxes(iscrowd=1))
    crowds_in_words = annotated(with_boxes(iscrowd='0'))
    root_category = annotated(
        lambda data: {**data, 'categories': [{'id': 0, 'name': 'circle'}, *data['categories']]}
    )
    backslashes = annotated(
        lambda data: {
            **data,
            'images': [{**i, 'file_name': f'train\\{i["file_name"]}'} for i in data['images']],
        }
    )
    lost_image = changed('toy', lambda root: min((root / 'train').iterdir()).unlink())
    text_for_image = changed('toy', lambda root: min((root / 'train').iterdir()).write_text('no'))

    fewer_folders = changed('pictures', lambda root: shutil.rmtree(root / 'val/red'))
    more_folders = changed('pictures', lambda root: (root / 'val/pink').mkdir())
    empty_folder = changed('pictures', lambda root: [p.unlink() for p in root.glob('train/red/*')])
    text_for_picture = changed('pictures', lambda root: (root / 'train/red/0.png').write_text('no'))

    renamed_class = of_classes('blue', 'green', 'Red')
    reversed_classes = of_classes('red', 'green', 'blue')
    fewer_classes = of_classes('blue', 'green')

    damaged_result = result({})
    other_result = result({'options': {'gpus': 9}, 'metrics': {'accuracy/top1': 50.0}})

    def cut(self):
        path = self.folder / 'cut.pth'
        whole = self['resnet14'].read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        return path

    def other_images(self):
        data = json.loads((self['toy'] / 'annotations/val.json').read_text())
        for image in data['images']:
            image['file_name'] = f'x{image["file_name"]}'
        path = self.folder / 'other.json'
        path.write_text(json.dumps(data))
        return path

    def captions(self):
        path = self.folder / 'captions.json'
        caption = {'id': 1, 'image_id': 1, 'caption': 'a star'}
        path.write_text(json.dumps({'images': [], 'annotations': [caption]}))
        return path

    def no_weights(self):
        return self.save({'epoch': 3})

    def with_object(self):
        return self.save({'state_dict': {'weight': torch.zeros(1)}, 'path': Path('x')})

    def renamed(self):
        weights = self.weights()
        for index, key in enumerate(list(weights)[:9]):
            weights[f'other.{index}'] = weights.pop(key)
        return self.save(weights)

    def four_classes(self):
        fc = {'fc.weight': torch.zeros(4, 64), 'fc.bias': torch.zeros(4)}
        return self.save({**self.weights(), **fc})

    def run_of_resnet14(self):
        return self.save({'state_dict': self.weights(), 'meta': {}, 'message_hub': {}})

    def voc(self):
        root = self.folder / 'voc'
        odd = _XML.replace('<xmin>1', '<xmin>one')
        xmls = (('train', _XML), ('cut', _XML[:99]), ('lost', _XML), ('odd', odd))
        for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
            (root / folder).mkdir(parents=True)
        for name, xml in xmls:
            (root / f'ImageSets/Main/{name}.txt').write_text(f'{name}\n')
            (root / f'Annotations/{name}.xml').write_text(xml)
            shutil.copy(self['pictures'] / 'train/red/0.png', root / f'JPEGImages/{name}.jpg')
        (root / 'JPEGImages/lost.jpg').unlink()
        (root / 'ImageSets/Main/empty.txt').write_text('')
        return root

    def yolo(self, path='.'):
        root = self.folder / 'yolo'
        for folder in ('images/train', 'labels/train'):
            (root / folder).mkdir(parents=True)
        shutil.copy(self['pictures'] / 'train/red/0.png', root / 'images/train/a.png')
        (root / 'labels/train/a.txt').write_text('0 0.5 0.5 0.5 0.5\n0 32 24 16 24\n')
        (root / 'data.yaml').write_text(f'path: {path}\nnames: [dog]\ntrain: images/train\n')
        return root

    def moved_yolo(self):
        return self.yolo('/home/somebody')


# -- tests -------------------------------------------------------------------


@pytest.fixture
def given(tmp_path, toy_data, random_teacher, pictures, teacher_weights):
    return Given(
        tmp_path, toy=toy_data, teacher=random_teacher, pictures=pictures, resnet14=teacher_weights
    )


def load_tool(name):
    """A tool as a module."""
    spec = importlib.util.spec_from_file_location(f'tool_{name}', REPO / 'tools' / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def end_of(given, monkeypatch, capsys):
    """Run a command line in this process: how it exits, and the last line of its errors."""
    monkeypatch.chdir(REPO)
    monkeypatch.delenv('RANK', raising=False)
    # Most of the time would go into three times formatting a config for logs, and waiting for a
    # worker to end.
    monkeypatch.setattr(Config, 'pretty_text', property(lambda self: repr(self)))
    monkeypatch.setattr(torch.utils.data._utils, 'MP_STATUS_CHECK_INTERVAL', 0.1)

    def run(command):
        name, *arguments = shlex.split(command.format_map(given))
        monkeypatch.setattr(sys, 'argv', [f'tools/{name}', *arguments])
        tool = load_tool(name)
        with pytest.raises(SystemExit) as stopped:
            run_tool(tool.main, tool.get_parser())
        return stopped.value, capsys.readouterr().err.splitlines()[-1]

    return run


def each_row():
    for block in TABLE.strip().split('\n\n'):
        what, *lines = block.splitlines()
        if not lines:
            kind = what.strip('= ')
            continue
        exception, says = lines.pop().strip().split(': ', 1)
        name = f'{kind}: {what}'
        marks = pytest.mark.skipif(SKIPPED.get(name, False), reason='it would do here')
        yield pytest.param(' '.join(lines), exception, says, id=name, marks=marks)


@pytest.mark.parametrize(('command', 'exception', 'says'), each_row())
def test_what_is_wrong_is_said_in_one_line(end_of, given, command, exception, says):
    stopped, line = end_of(command)
    assert exception in [kind.__name__ for kind in type(stopped.__context__).__mro__]
    assert stopped.code == 1
    assert line.startswith('error: ')
    assert re.search(r' \((--debug shows the traceback|the traceback is in .+\.log)\)$', line)
    assert re.search('.*'.join(map(re.escape, re.split(r' ?\.\.\. ?', says))), line), line
    assert not list(given['work'].glob('*.pth'))


@pytest.mark.parametrize(
    ('command', 'says'),
    [
        ('train.py', 'train.py: error: the following arguments are required: config'),
        ('list_methods.py all', 'list_methods.py: error: unrecognized arguments: all'),
        (
            'train.py x.py --launcher ssh',
            "train.py: error: argument --launcher: invalid choice: 's",
        ),
        (
            'train.py x.py --cfg-options a',
            'train.py: error: --cfg-options takes key=value, lists as',
        ),
        (
            'test.py x.py x.pth --cfg-options a=[1,(2]',
            'error: --cfg-options takes key=value, lists',
        ),
        ('demo.py --num-val 1.5', "demo.py: error: argument --num-val: invalid int value: '1.5'"),
        ('to_coco.py voc x --out x', 'error: the following arguments are required: --classes'),
        ('to_coco.py coco x', "error: argument {voc,yolo}: invalid choice: 'coco'"),
        ('reproduce.py x --methods', 'error: argument --methods: expected at least one argument'),
    ],
)
def test_a_command_line_that_is_none_exits_2(end_of, command, says):
    stopped, line = end_of(command)
    assert stopped.code == 2
    assert says in line


def test_the_former_name_of_a_command_names_the_present_one(run_python):
    old = run_python('tools/voc_to_coco.py', 'a b', '--classes', 'x', '--out', 'y', check=False)
    assert old.returncode == 1
    command = "python tools/to_coco.py voc 'a b' --classes x --out y"
    assert f'has become tools/to_coco.py; run: {command}\n' in old.stderr


def test_classes_are_checked_by_number_where_a_checkpoint_names_none(
    end_of, tmp_path, save_random_weights
):
    config = Config.fromfile(REPO / 'configs/toy/teacher.py')
    config.model.roi_head.bbox_head.num_classes = 7
    config.dump(tmp_path / 'seven.json')
    save_random_weights(config, tmp_path / 'seven.pth')
    checkpoint = torch.load(tmp_path / 'seven.pth', weights_only=True)
    torch.save({'state_dict': checkpoint['state_dict']}, tmp_path / 'seven.pth')
    _, line = end_of(
        f'{{DISTIL}} custom_hooks.0.teacher.config={tmp_path}/seven.json '
        f'--teacher-checkpoint {tmp_path}/seven.pth'
    )
    assert 'differ in their number of classes: 7 and 12' in line


def ends(error, monkeypatch, debug=False):
    """Run a tool that raises ``error``."""
    import argparse

    def main(args):
        raise error

    parser = argparse.ArgumentParser()
    parser.add_argument('--debug', action='store_true')
    monkeypatch.setattr(sys, 'argv', ['tool', *(['--debug'] if debug else [])])
    run_tool(main, parser)


@pytest.mark.parametrize(
    ('error', 'code', 'says'),
    [
        (KeyboardInterrupt(), 130, '\ninterrupted\n'),
        (KeyboardInterrupt('to go on: make demo'), 130, '\nto go on: make demo\n'),
        (SystemExit(75), 75, ''),  # a run that SIGTERM stopped
    ],
)
def test_an_interrupted_run_is_no_error(monkeypatch, capsys, error, code, says):
    with pytest.raises(SystemExit) as stopped:
        ends(error, monkeypatch)
    assert stopped.value.code == code
    assert capsys.readouterr().err == says


def test_an_image_that_opencv_refuses_is_one_line(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        ends(cv2.error('OpenCV: too many pixels in an image'), monkeypatch)
    assert stopped.value.code == 1
    assert 'error: OpenCV: too many pixels in an image (' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('error', 'debug'),
    [
        (ValueError('what a user can mend'), True),
        (AttributeError('a mistake of the program'), False),
        (KeyError('a_key'), False),
        (AssertionError(), False),
    ],
)
def test_a_traceback_is_shown_on_demand_and_where_a_line_would_not_help(monkeypatch, error, debug):
    with contextlib.suppress(SystemExit), pytest.raises(type(error)):
        ends(error, monkeypatch, debug)


def test_a_process_prints_one_line_and_exits_1(run_python, tmp_path):
    done = run_python('tools/train.py', 'no/config.py', '--work-dir', tmp_path, check=False)
    assert done.returncode == 1
    assert done.stdout == ''
    expected = 'error: config file no/config.py does not exist (--debug shows the traceback)'
    assert done.stderr.strip() == expected
    done = run_python('tools/train.py', 'no/config.py', '--debug', check=False)
    assert done.returncode == 1
    assert 'Traceback' in done.stderr
