"""Command lines that would do, to which a row of a test adds what is wrong; and their files.

Of two equal options the later one counts. What stands in braces is a file or a folder that
:class:`Given` makes.
"""

import json
import shutil
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hub import get_config

REPO = Path(__file__).parents[1]

_RUN = '--work-dir {work} --cfg-options experiment_name={name} train_cfg.max_epochs=1'
_LOADERS = ' '.join(
    f'{split}_dataloader.num_workers=0 {split}_dataloader.persistent_workers=False'
    for split in ('train', 'val', 'test')
)
ON_TOY = f'--data-root {{toy}} {_RUN} {_LOADERS}'
ON_PICTURES = f'--data-root {{pictures}} {_RUN} model.num_classes=3'
BY_TOY_TEACHER = '--teacher configs/toy/teacher.py --teacher-checkpoint {teacher} --method sortkd'
_BY_RESNET14 = '--teacher resnet14 --teacher-checkpoint {resnet14}'

DETECTOR = f'train.py configs/toy/student.py {ON_TOY}'
DISTIL = f'train.py configs/toy/student.py {BY_TOY_TEACHER} {ON_TOY}'
ALONE = f'train.py configs/clothing/student.py {ON_PICTURES}'
TAUGHT = f'train.py configs/clothing/student.py --method sortkd {_BY_RESNET14} {ON_PICTURES}'
TWO_VIEWS = f'train.py configs/clothing/student.py --method sld {_BY_RESNET14} {ON_PICTURES}'
TEST = (
    f'test.py configs/clothing/student.py {{resnet14}} {ON_PICTURES} '
    'model.type=sortkd_det.cifar/resnet14'
)
REPRODUCE = (
    'reproduce.py configs/cifar100.py --work-dir {work} --pairs resnet56-resnet20 --methods kd'
)
VOC = 'to_coco.py voc {voc} --out {work} --splits train --classes'
YOLO = 'to_coco.py yolo --out {work}'
DEMO = 'demo.py --work-dir {work} --data-root {work}/data'

# -- what command lines name -------------------------------------------------

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
    'two_hooks.py': f"_base_ = '{REPO}/configs/clothing/student.py'\n"
    "hook = dict(type='sortkd_det.DistillHook', method=[dict(loss='KDLoss')],\n"
    f"    teacher=dict(config='{REPO}/configs/clothing/teacher.py'))\n"
    'custom_hooks = [hook, hook]\n',
    'no_checkpoint.py': f"_base_ = '{REPO}/configs/toy/student.py'\n"
    "custom_hooks = [dict(type='sortkd_det.DistillHook', method=[dict(loss='KDLoss')],\n"
    f"    teacher=dict(config='{REPO}/configs/toy/teacher.py'))]\n",
    'misspelled.py': "method = [dict(loss='KDLoss')]\nstudent_wieght = 0.1\n",
    'audit.py': f"_base_ = '{REPO}/configs/clothing/student.py'\n"
    "custom_hooks = [dict(type='sortkd_det.TeacherAuditHook')]\n",
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

    def other_detector(self, name):
        """The toy student's run, of another detector of MMDetection's."""
        config = Config.fromfile(REPO / 'configs/toy/student.py')
        config.model = get_config(f'mmdet::_base_/models/{name}.py').model
        config.model.backbone.update(depth=18, init_cfg=None)
        config.model.neck.in_channels = [64, 128, 256, 512]
        config.dump(self.folder / 'other.json')
        return self.folder / 'other.json'

    def rpn(self):
        return self.other_detector('rpn_r50_fpn')

    def cascade(self):
        return self.other_detector('cascade-rcnn_r50_fpn')

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
