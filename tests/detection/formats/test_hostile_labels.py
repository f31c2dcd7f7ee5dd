"""VOC's and YOLO's labels from strangers: converted, or refused by name."""

import time
import warnings

import pytest
from hostile import few_or_many, read_mutations
from PIL import Image


def small_picture(path):
    Image.new('RGB', (30, 20)).save(path)


VOC = """<annotation><size><width>30</width><height>20</height></size><object><name>cat</name>
<difficult>0</difficult><bndbox><xmin>{}</xmin><ymin>6</ymin><xmax>15</xmax><ymax>16</ymax></bndbox>
</object></annotation>"""


ENTITIES = ''.join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10 if i else "ha"}">' for i in range(12))


@pytest.fixture
def convert(tmp_path):
    """``convert(xml, names)``: convert one annotation of VOC's, listed under those names."""
    from sortkd_det.detection.formats import read_voc, write_coco

    root = tmp_path / 'voc'
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    small_picture(root / 'JPEGImages/a.jpg')
    small_picture(tmp_path / 'secret.jpg')
    (tmp_path / 'secret.xml').write_text(VOC.format(5))

    def run(xml, names='a'):
        (root / 'Annotations/a.xml').write_bytes(xml if isinstance(xml, bytes) else xml.encode())
        (root / 'ImageSets/Main/train.txt').write_bytes(names.encode('latin-1'))
        return write_coco(read_voc(root, ['cat']), ['cat'], tmp_path / 'out')

    return run


@pytest.mark.parametrize(
    'xml',
    [
        f'<?xml version="1.0"?><!DOCTYPE x [{ENTITIES}]><x>&e11;</x>',
        f'<!DOCTYPE annotation [{ENTITIES}]>' + VOC.format('&e11;'),
        '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]><x>&e;</x>',
        '<!DOCTYPE annotation SYSTEM "http://127.0.0.1/x.dtd">' + VOC.format(5),
        VOC.format('&e;'),
        '<a>' * 10**5,
        '<a>' * 10**5 + '</a>' * 10**5,
        '<a ' + ' '.join(f'b{i}=""' for i in range(10**5)) + '/>',
        VOC.format('1' * 10**4),
        VOC.format('1' * 30),
        VOC.format('nan'),
        VOC.format('-1e400'),
        VOC.format(''),
        VOC.format('<a/>' * 10**5),
        VOC.format('5').replace('<width>30', '<width>-1e400'),
        VOC.format('5').replace('<name>cat</name>', ''),
        VOC.format('5').replace('cat', 'dog'),
        VOC.format('5').replace('cat', 'dog' * 10**6),
        VOC.format('5').replace('difficult>0', 'difficult>' + '1' * 10**6),
        '',
        '\0',
        '<?xml version="1.0" encoding="x-unknown"?>' + VOC.format(5),
        '<a>' + ' ' * 2**24 + '</a>',
    ],
    ids=lambda xml: xml[:30],
)
def test_a_hostile_annotation_of_voc_is_refused_by_name(convert, tmp_path, xml):
    start = time.process_time()
    with pytest.raises(ValueError, match=r'a\.xml is no annotation of VOC') as error:
        convert(xml)
    assert len(str(error.value)) < 1000
    assert time.process_time() - start < 5
    assert not (tmp_path / 'out').exists()


@few_or_many
def test_mutations_of_an_annotation_of_voc(tmp_path, convert, number, capsys, record_property):
    path = tmp_path / 'voc/Annotations/a.xml'
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        read_mutations(convert, VOC.format(5).encode(), number, path, capsys, record_property)


@pytest.mark.parametrize(
    ('names', 'error', 'said'),
    [
        (
            '../../secret',
            FileNotFoundError,
            r'\.\./secret\.xml, which train\.txt asks for',
        ),
        ('a\n../JPEGImages/a', FileNotFoundError, 'does not exist'),
        ('/etc/hostname', FileNotFoundError, 'does not exist'),
        ('a\n a \n', ValueError, 'lists a 2 times'),
        ('a\0', FileNotFoundError, 'does not exist'),
        ('\xff\xfe', FileNotFoundError, 'does not exist'),
    ],
)
def test_a_hostile_list_of_voc_is_refused_by_name(convert, tmp_path, names, error, said):
    with pytest.raises(error, match=said):
        convert(VOC.format(5), names)
    assert not (tmp_path / 'out').exists()


@pytest.fixture
def convert_yolo(tmp_path):
    """``convert_yolo(**files)``: convert a set of one image, some of its texts replaced."""
    from sortkd_det.detection.formats import read_yolo, write_coco

    root = tmp_path / 'yolo'
    for folder in ('images/train', 'labels/train'):
        (root / folder).mkdir(parents=True)
    small_picture(root / 'images/train/a.jpg')
    small_picture(tmp_path / 'secret.jpg')

    def run(**files):
        texts = {
            'data': 'names: [cat]\ntrain: images/train\n',
            'labels/train/a': '0 0.5 0.5 0.5 0.5\n',
            **files,
        }
        for name, text in texts.items():
            path = root / (f'{name}.yaml' if name == 'data' else f'{name}.txt')
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return write_coco(*read_yolo(root)[::-1], tmp_path / 'out')

    return run


def yaml_bomb(merge):
    rows = ['a0: &a0 {x: y}' if merge else 'a0: &a0 [cat]']
    for i in range(1, 12):
        repeated = ', '.join([f'*a{i - 1}'] * 10)
        rows.append(f'a{i}: &a{i} ' + (f'{{<<: [{repeated}]}}' if merge else f'[{repeated}]'))
    return '\n'.join([*rows, 'names: *a11', 'train: images/train'])


@pytest.mark.parametrize(
    ('yaml', 'said'),
    [
        (yaml_bomb(merge=True), 'repeats parts by aliases'),
        (yaml_bomb(merge=False), 'repeats parts by aliases'),
        ('names: &a [*a]\n', 'repeats parts by aliases'),
        ('names: ' + '[' * 10**5, 'nested more than 10 levels'),
        ('names:\n  ' + '- ' * 10**5, 'nested more than 10 levels'),
        ('names: ' + 'a: ' * 10**4, 'cannot be read as YAML'),
        ('? ' * 10**5, 'nested more than 10 levels'),
        ('names: [' + 'a, ' * 10**5 + 'b]\n', 'has more than 262144 bytes'),
        ('x' * 2**19, 'has more than'),
        (b'\xff\xfe\0', 'cannot be read as YAML'),
        ('names: [cat]\ntrain: ..\n', 'outside of'),
        ('names: [cat]\ntrain: ../../..\n', 'outside of'),
        ('names: [cat]\ntrain: /etc\n', 'outside of'),
        ('path: /\nnames: [cat]\ntrain: etc\n', 'outside of'),
        ('names: [cat]\ntrain: "a\\0"\n', 'outside of'),
    ],
    ids=lambda text: text[:30],
)
def test_a_hostile_description_of_yolo_is_refused_by_name(tmp_path, convert_yolo, yaml, said):
    start = time.process_time()
    with pytest.raises(ValueError, match=rf'data\.yaml.*({said})'):
        convert_yolo(data=yaml)
    assert time.process_time() - start < 5
    assert not (tmp_path / 'out').exists()


def test_a_description_of_yolo_runs_nothing(tmp_path, convert_yolo):
    canary = tmp_path / 'canary'
    call = f'!!python/object/apply:os.system ["touch {canary}"]'
    convert_yolo(data=f'names: {call}\ntrain: images/train\n')
    assert not canary.exists()


@pytest.mark.parametrize('name', ['../../secret.jpg', '/etc/hostname', 'a\0'])
def test_a_hostile_list_of_yolo_leads_nowhere(tmp_path, convert_yolo, name):
    with pytest.raises(ValueError, match=r'list\.txt names .* outside of'):
        convert_yolo(data='names: [cat]\ntrain: list.txt\n', list=f'images/train/a.jpg\n{name}\n')
    assert not (tmp_path / 'out').exists()


@few_or_many
@pytest.mark.parametrize('name', ['data', 'labels/train/a'])
def test_mutations_of_a_set_of_yolo(tmp_path, convert_yolo, name, number, capsys, record_property):
    whole = {
        'data': b'path: .\nnames: {0: cat, 1: dog}\nnc: 2\ntrain: images/train\n',
        'labels/train/a': b'0 0.5 0.5 0.5 0.5\n0 0.1 0.2 0.3 0.4 0.5 0.6\n',
    }[name]

    def read(content):
        convert_yolo(**{name: content})

    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        path = tmp_path / 'yolo'  # of a folder that is renamed, the folder is named
        read_mutations(read, whole, number, path, capsys, record_property)


@pytest.mark.parametrize(
    'content',
    [
        b'text',
        b'\x89PNG\r\n\x1a\n',
        b'\xff\xd8\xff\xe1\0\x08Exif\0\0',
        b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n',
    ],
)
def test_an_image_whose_size_cannot_be_read_is_named(tmp_path, convert_yolo, content):
    (tmp_path / 'yolo/images/train/a.jpg').write_bytes(content)
    with pytest.raises(ValueError, match=r'images/train/a\.jpg is no image that can be read'):
        convert_yolo()
