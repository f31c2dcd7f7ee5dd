"""Sizes in a COCO file against those of the images."""

import cv2
from coco_files import coco, found, only


def test_sizes_are_compared_with_the_images(part, root):
    content = coco()
    content['images'][2].update(width=60, height=80)
    message = found(part(content))[0]
    assert '1 of the 3 images that were looked at have another width or height than it' in message
    assert '2.png, 60 × 80 in the file and 80 × 60 in truth' in message


def test_turned_images_are_told_apart(part, root):
    from PIL import Image

    image = Image.new('RGB', (80, 60))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(root / 'images/1.png', exif=exif)
    assert cv2.imread(str(root / 'images/1.png')).shape[:2] == (80, 60)
    assert 'EXIF orientation' in only(found(part()))


def test_a_few_sizes_are_looked_at_before_a_run_and_all_on_demand(part, root):
    content = coco(100)
    for image in content['images']:
        image['file_name'] = '0.png'
    content['images'][1].update(width=79)
    assert found(part(content)) == []
    assert '1 of the 100 images that were looked at' in only(found(part(content), every_size=True))
