"""A detector's data that cannot be, and what cannot be turned into it."""

import pytest
from command_lines import DETECTOR, ON_TOY, VOC, YOLO

ROWS = [
    pytest.param(
        DETECTOR + ' --data-root nowhere',
        FileNotFoundError,
        'file nowhere/annotations/train.json does not exist; --data-root DIR names',
        id='no such folder',
    ),
    pytest.param(
        'test.py configs/toy/student.py {teacher} ' + ON_TOY + ' --data-root nowhere',
        FileNotFoundError,
        'file nowhere/annotations/val.json does not exist; --data-root DIR names',
        id='no such folder to test on',
    ),
    pytest.param(
        DETECTOR + ' --data-root {no_json}',
        ValueError,
        ['train.json is not JSON', '; expected COCO annotations'],
        id='no JSON',
    ),
    pytest.param(
        DETECTOR + ' --data-root {a_list}',
        ValueError,
        'is not a COCO annotation file: it has no list under images',
        id='a list',
    ),
    pytest.param(
        DETECTOR + ' --data-root {no_list}',
        ValueError,
        'is not a COCO annotation file: it has no list under annotations',
        id='no list of boxes',
    ),
    pytest.param(
        DETECTOR + ' --data-root {fewer_categories}',
        ValueError,
        ['2 of the 12 classes of the config are not in', "['circle', 'ellipse'];", 'Set'],
        id='classes that are not there',
    ),
    pytest.param(
        DETECTOR + ' train_dataloader.dataset.metainfo.classes=circle',
        ValueError,
        "classes is the text 'circle'; expected a tuple of names, ('circle',) for one",
        id='one class, in brackets that make no tuple',
    ),
    pytest.param(
        DETECTOR + " train_dataloader.dataset.metainfo.classes=['circle','star','circle']",
        ValueError,
        "metainfo.classes names ['circle'] more than once",
        id='a class twice',
    ),
    pytest.param(
        DETECTOR + ' --data-root {other_order}',
        ValueError,
        ['in another order', 'number 0 is', "in the file and 'circle' in the config", 'set'],
        id='categories in another order than the classes',
    ),
    pytest.param(
        DETECTOR + ' --data-root {no_boxes}',
        ValueError,
        ['empty training set:', 'train.json has 12 images and 0 boxes'],
        id='no boxes',
    ),
    pytest.param(
        DETECTOR + ' --data-root {no_images}',
        ValueError,
        ['empty training set:', 'train.json has 0 images and 0 boxes'],
        id='no images',
    ),
    pytest.param(
        DETECTOR + ' --data-root {lost_image}',
        FileNotFoundError,
        ['1 of the 12 images do not exist; the first is', '.png; check data_root and'],
        id='an image that is not there',
    ),
    pytest.param(
        DETECTOR + ' --data-root {backslashes}',
        FileNotFoundError,
        ['12 of the 12 images have a file_name with backslashes,', '; write them with /'],
        id='images named as on Windows',
    ),
    pytest.param(
        DETECTOR + ' --data-root {crowds}',
        ValueError,
        ['empty training set:', '12 images and', 'boxes, and all of them are crowds'],
        id='crowds alone',
    ),
    pytest.param(
        DETECTOR + ' --data-root {crowds_in_words}',
        ValueError,
        ['annotations have an iscrowd that is no number; the first is', '; expected 0 or 1'],
        id='crowds in words',
    ),
    pytest.param(
        DETECTOR + ' train_dataloader.dataset.filter_cfg.min_size=500',
        ValueError,
        ['empty training set:', 'all of the images are smaller than filter_cfg.min_size = 500'],
        id='images that are all smaller than is wanted',
    ),
    pytest.param(
        DETECTOR + ' --data-root {root_category}',
        ValueError,
        ['share their name', '; no annotation is of the category with the id 0', ': take it'],
        id='a root of all categories of the name of one',
    ),
    pytest.param(
        DETECTOR + ' val_evaluator.ann_file={toy}/annotations/train.json',
        ValueError,
        ['train.json: 6 of the 6 images of', 'val.json, which the val_dataloader reads,', 'set'],
        id='a metric that reads another file',
    ),
    pytest.param(
        'test.py configs/toy/student.py {teacher} '
        + ON_TOY
        + ' test_evaluator.ann_file={other_images}',
        ValueError,
        ['another id, file_name or size in it;', '; set test_evaluator.ann_file to', 'val.json'],
        id='a metric that reads a file of other images',
    ),
    pytest.param(
        DETECTOR + ' val_evaluator.ann_file={other_order}/annotations/train.json',
        ValueError,
        ['in another order', 'set val_evaluator.ann_file to', 'val.json, which the val_datalo'],
        id='a metric that reads a file of other categories',
    ),
    pytest.param(
        DETECTOR + ' val_evaluator.ann_file={captions}',
        ValueError,
        'captions.json (val_evaluator.ann_file) is not a COCO annotation file: it has no list',
        id='a metric that reads no boxes',
    ),
    pytest.param(
        DETECTOR + ' val_evaluator.ann_file=nowhere.json',
        FileNotFoundError,
        'val_evaluator.ann_file is nowhere.json, which does not exist; set it to',
        id='a metric that reads nothing',
    ),
    pytest.param(
        'check_data.py configs/clothing/student.py',
        ValueError,
        ['configs/clothing/student.py is no config of MMDetection:', 'looks at COCO files'],
        id="data of a classifier, looked at as a detector's",
    ),
    pytest.param(
        'check_data.py configs/toy/student.py --teacher configs/toy/teacher.py --method '
        'sortkd --data-root {toy} --teacher-checkpoint {renamed_class}',
        ValueError,
        'cannot teach this: teacher and student differ in their classes: 3 and 12',
        id='a teacher of other classes, looked at beforehand',
    ),
    pytest.param(
        DETECTOR + ' --data-root {text_for_image}',
        AssertionError,
        ['failed to load image:', '.png'],
        id='an image that does not decode',
    ),
    pytest.param(
        DETECTOR + ' model.roi_head.bbox_head.num_classes=80',
        ValueError,
        'bbox_head.num_classes is 80 and the data set has 12 classes: circle, ellipse',
        id='another number of classes',
    ),
    pytest.param(
        'to_coco.py voc nowhere --out {work} --classes dog',
        FileNotFoundError,
        ['nowhere/ImageSets/Main has no list for train, val, test; lists', 'none'],
        id='no VOC',
    ),
    pytest.param(
        VOC + ' dog --splits val',
        FileNotFoundError,
        'has no list for val; lists for --splits there: cut, empty, lost, odd, train',
        id='no such list of VOC',
    ),
    pytest.param(
        VOC + ' dog --splits empty',
        ValueError,
        'empty.txt lists no images',
        id='an empty list of VOC',
    ),
    pytest.param(
        VOC + ' cat',
        ValueError,
        ["train.xml is no annotation of VOC's: object 1 (dog) is of no class of", "['cat']"],
        id='an unnamed class of VOC',
    ),
    pytest.param(
        VOC + ' dog dog',
        ValueError,
        '--classes must differ, got dog dog',
        id='a class of VOC twice',
    ),
    pytest.param(
        VOC + ' dog --splits cut',
        ValueError,
        "cut.xml is no annotation of VOC's: it is no XML (unclosed token: line 1, column",
        id='an annotation of VOC that was cut off',
    ),
    pytest.param(
        VOC + ' dog --splits odd',
        ValueError,
        "odd.xml is no annotation of VOC's: <xmin> of object 1 (dog) is 'one', expected",
        id='a number of VOC that is none',
    ),
    pytest.param(
        VOC + ' dog --splits lost',
        FileNotFoundError,
        ['an image', '/JPEGImages/lost.*, which lost.txt asks for, does not exist'],
        id='an image of VOC that is not there',
    ),
    pytest.param(
        VOC + ' dog --out {text}',
        FileExistsError,
        ['--out:', 'text.txt cannot be a folder to write to'],
        id='VOC into a file',
    ),
    pytest.param(
        YOLO + ' nowhere',
        FileNotFoundError,
        'nowhere has neither data.yaml nor classes.txt',
        id='no YOLO',
    ),
    pytest.param(
        YOLO + ' {yolo}',
        ValueError,
        ['labels/train/a.txt, line 2: it has a number that is no share of the image', '32'],
        id='a row of YOLO in pixels',
    ),
    pytest.param(
        YOLO + ' {yolo} --splits val',
        FileNotFoundError,
        'data.yaml has nothing for val; for --splits there is: train',
        id='a split of YOLO that is not there',
    ),
    pytest.param(
        YOLO + ' {moved_yolo}',
        ValueError,
        ["data.yaml names 'images/train', which is outside of", ';', 'by --data-root DIR'],
        id='images of YOLO that were moved',
    ),
]


@pytest.mark.parametrize(('command', 'exception', 'says'), ROWS)
def test_it_is_said_in_one_line(is_refused, command, exception, says):
    is_refused(command, exception, says)
