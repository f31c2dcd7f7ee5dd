"""Which images and boxes a gallery takes from COCO's files."""

import json

import pytest

from sortkd_det.studies.html.gallery import LEAST_SCORE, MOST_DETECTIONS, make_gallery


def gallery_of(annotations, found, tmp_path, folder=None, number=100):
    path = tmp_path / 'found.bbox.json'
    path.write_text(json.dumps(found))
    return make_gallery(annotations, {'kd': path}, folder, number)


def test_objects_and_crowds_are_those_of_the_file(annotations, tmp_path):
    gallery, total = gallery_of(annotations, [], tmp_path)
    content = json.loads(annotations.read_text())
    assert total == len(gallery.pictures) == len(content['images'])
    boxes = [box for picture in gallery.pictures for box in picture.boxes[0]]
    assert len(boxes) == len(content['annotations'])
    assert boxes.count(0) == 0
    crowds = sum(each['iscrowd'] for each in content['annotations'])
    assert sum(box[5] == 0 for box in boxes) == crowds > 0
    first = content['annotations'][0]
    expected = [round(value, 1) for value in first['bbox']]
    assert [*expected, first['category_id'] - 1, 1 - first['iscrowd']] in boxes
    assert gallery.sources == ['ground truth', 'kd']


def test_detections_are_the_best_of_each_image_above_the_least_score(annotations, tmp_path):
    scores = [LEAST_SCORE - 0.001, LEAST_SCORE, *(0.1 + i / 1000 for i in range(MOST_DETECTIONS))]
    found = [dict(image_id=3, category_id=2, bbox=[1, 2, 3, 4], score=score) for score in scores]
    gallery, _ = gallery_of(annotations, [*found, {**found[-1], 'image_id': 4}], tmp_path)
    boxes = {picture.name: picture.boxes[1] for picture in gallery.pictures}
    assert len(boxes.pop('im&3.png')) == MOST_DETECTIONS
    assert boxes.pop('im&4.png') == [[1.0, 2.0, 3.0, 4.0, 1, round(scores[-1], 3)]]
    assert not any(boxes.values())


@pytest.mark.parametrize(('number', 'names'), [(1, [0]), (2, [0, 11]), (3, [0, 6, 11])])
def test_images_are_evenly_spread(annotations, tmp_path, number, names):
    gallery, total = gallery_of(annotations, [], tmp_path, number=number)
    assert [picture.name for picture in gallery.pictures] == [f'im&{n}.png' for n in names]
    assert total == 12


@pytest.mark.parametrize('number', [12, 40])  # no more, and more than those that are tried
def test_of_more_images_than_a_page_holds_fewer_are_shown(annotations, tmp_path, number):
    content = json.loads(annotations.read_text())
    content['images'] = [dict(id=i, file_name='im&1.png') for i in range(number)]
    many, found = tmp_path / 'many.json', tmp_path / 'found.json'
    many.write_text(json.dumps(content))
    found.write_text('[]')

    def shown(**limit):
        return make_gallery(many, {'kd': found}, annotations.parent, 100, **limit)[0].pictures

    one = len(shown()[0].uri)
    assert len(shown()) == number
    assert len(shown(most_bytes=11 * one // 2)) in (4, 5)
    assert sum(len(each.uri) for each in shown(most_bytes=11 * one // 2)) < 5.5 * one
    assert len(shown(most_bytes=10)) == 1


def test_classes_are_in_pycocotools_order(annotations, tmp_path):
    content = json.loads(annotations.read_text())
    names = [each['name'] for each in content['categories']]
    content['categories'] = content['categories'][::-1]
    path = tmp_path / 'reversed.json'
    path.write_text(json.dumps(content))
    gallery, _ = gallery_of(path, [], tmp_path)
    assert gallery.classes == names


def test_a_picture_that_is_not_there_leaves_its_boxes(annotations, tmp_path):
    gallery, _ = gallery_of(annotations, [], tmp_path, annotations.parent)
    assert [bool(picture.uri) for picture in gallery.pictures] == [False, True] * 6
    assert {picture.size for picture in gallery.pictures} == {(480, 480)}
    without, _ = gallery_of(annotations, [], tmp_path)
    assert not any(picture.uri for picture in without.pictures)
