"""Entries, flags and names of a COCO file."""

import re
import shutil

import pytest
from coco_files import coco, found, only


@pytest.mark.parametrize('value', ['0', '1', [1], {}])
def test_a_crowd_flag_that_mmdetection_would_misread_is_an_error(part, value):
    assert 'have an iscrowd that is no number' in only(found(part(coco(iscrowd=value))))
    for absent in (coco(), coco(iscrowd=None), coco(iscrowd=False), coco(iscrowd=0.0)):
        assert found(part(absent)) == []


def test_a_category_of_the_same_name_without_boxes_is_named(part):
    content = coco()
    content['categories'].insert(0, {'id': 0, 'name': 'dog', 'supercategory': 'none'})
    message = only(found(part(content)))
    assert '2 of the 3 categories share their name' in message
    assert 'no annotation is of the category with the id 0' in message
    assert 'take it out of "categories"' in message
    content['annotations'][0]['category_id'] = 0  # both are used: which is meant?
    assert 'give each a name of its own' in only(found(part(content)))


def test_backslashes_in_names_are_told(part):
    content = coco()
    content['images'][1]['file_name'] = 'images\\1.png'
    message = only(found(part(content)))
    assert re.search(
        r'1 of the 3 images have a file_name with backslashes.*images\\1\.png', message
    )
    assert 'write them with /' in message


def test_a_backslash_that_is_part_of_a_name_passes(part, root):
    shutil.copy(root / 'images/1.png', root / 'images/a\\b.png')
    content = coco()
    content['images'][1]['file_name'] = 'a\\b.png'
    assert found(part(content)) == []
