"""Pages in headless Chromium: they open, draw, sort, switch and filter, for everyone."""

import pytest
from report_pages import AXE, CLASSES
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

EACH = pytest.mark.parametrize('name', ['comparison', 'teacher'])
WIDTHS = pytest.mark.parametrize(('width', 'dark'), [(1280, False), (390, True)])


def texts(root, selector):
    """Of each element what a reader sees, in one line."""
    return [
        ' '.join(element.text.split()) for element in root.find_elements(By.CSS_SELECTOR, selector)
    ]


def slide(page, value):
    """Move the slider as a user does, by an event."""
    page.execute_script(
        'const slider = document.querySelector("[name=score]"); slider.value = arguments[0];'
        'slider.dispatchEvent(new Event("input", { bubbles: true }))',
        value,
    )


def tally(page):
    return page.find_element(By.CSS_SELECTOR, 'p.tally').text


@EACH
@WIDTHS
def test_it_opens_without_errors_network_or_sideways_scrolling(show, written, name, width, dark):
    page = show(written[name], width, dark)
    assert page.get_log('browser') == []
    assert page.title not in ('broken', '1')
    loaded = page.execute_script(
        'return performance.getEntriesByType("resource").map((entry) => entry.name)'
    )
    assert [url for url in loaded if not url.startswith('data:')] == []
    assert page.execute_script('return document.documentElement.scrollWidth') == width
    broken = 'return [...document.images].filter((image) => !image.naturalWidth).length'
    assert page.execute_script(broken) == 0
    assert page.execute_script('return document.images.length') >= 2


@EACH
@WIDTHS
def test_axe_finds_nothing(show, written, name, width, dark):
    page = show(written[name], width, dark)
    page.execute_script(AXE.read_text())
    found = page.execute_async_script('axe.run().then(arguments[0])')
    violations = {
        each['id']: (each['impact'], [node['html'] for node in each['nodes']][:3])
        for each in found['violations']
    }
    assert violations == {}
    assert len(found['passes']) > 20


@EACH
def test_it_follows_the_theme(show, written, name):
    colour = 'return getComputedStyle(document.body).backgroundColor'
    light = show(written[name]).execute_script(colour)
    dark = show(written[name], dark=True).execute_script(colour)
    assert light == 'rgb(245, 246, 248)'
    assert dark == 'rgb(15, 18, 22)'


def test_names_are_text(show, written):
    page = show(written['comparison'])
    assert 'student' in texts(page, 'tbody th')[0]
    assert '<b>kd</b>' in texts(page, 'tbody th')[1]
    assert CLASSES[0] in texts(page, 'tbody th')
    assert [option.text for option in page.find_elements(By.TAG_NAME, 'option')][1:] == CLASSES
    assert CLASSES[0] in texts(page, 'ul.legend li')


def test_a_table_is_sorted_by_a_key(show, written):
    page = show(written['comparison'])
    table = page.find_elements(By.CSS_SELECTOR, 'table.sortable')[1]  # of the classes
    head = table.find_elements(By.CSS_SELECTOR, 'thead th')[-1]
    button = head.find_element(By.TAG_NAME, 'button')

    def column():
        return [float(text.split()[0]) for text in texts(table, 'tbody td:last-child')]

    before = column()
    assert len(set(before)) > 1
    button.send_keys(Keys.ENTER)
    assert column() == sorted(before, reverse=True)
    assert head.get_attribute('aria-sort') == 'descending'
    button.send_keys(Keys.SPACE)
    assert column() == sorted(before)
    assert head.get_attribute('aria-sort') == 'ascending'
    first = table.find_elements(By.CSS_SELECTOR, 'thead th')[0]
    first.find_element(By.TAG_NAME, 'button').click()
    assert head.get_attribute('aria-sort') == 'none'
    assert texts(table, 'tbody th') == sorted(texts(table, 'tbody th'), key=str.lower)


def test_what_has_no_value_is_last_in_both_orders(show, written):
    page = show(written['comparison'])
    table = page.find_element(By.CSS_SELECTOR, 'table.sortable')
    button = table.find_elements(By.CSS_SELECTOR, 'thead button')[2]  # differences
    for _ in range(2):
        button.click()
        assert [text.split()[0] for text in texts(table, 'tbody th')] == ['<b>kd</b>', 'student']


def test_curves_have_a_line_a_band_and_a_point_for_each_step(show, written):
    page = show(written['comparison'])
    accuracy, loss = page.find_elements(By.CSS_SELECTOR, '.chart')
    assert len(accuracy.find_elements(By.TAG_NAME, 'polyline')) == 2
    assert len(accuracy.find_elements(By.TAG_NAME, 'polygon')) == 2
    assert len(accuracy.find_elements(By.TAG_NAME, 'circle')) == 4
    assert len(loss.find_elements(By.TAG_NAME, 'circle')) == 6
    assert texts(accuracy, '.legend li') == [
        'student 8.5 at 2, mean of 2 seeds',
        '<b>kd</b> 20.5 at 2, mean of 2 seeds',
    ]


def test_the_gallery_switches_by_keyboard(show, written, comparison):
    page = show(written['comparison'])
    gallery = comparison.sections[-1].parts[0]
    objects = sum(box[5] for picture in gallery.pictures for box in picture.boxes[0])
    assert tally(page) == f'{objects} objects in these images'
    radio = page.find_element(By.CSS_SELECTOR, '[name=source]')
    radio.send_keys(Keys.ARROW_RIGHT)
    few = tally(page)
    assert few.startswith('student, score from 0.30: ')
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    many = tally(page)
    assert many.startswith('<b>kd</b>, score from 0.30: ')
    found = [int(text.split(': ')[1].split()[0]) for text in (few, many)]
    assert 0 < found[0] < found[1] <= objects
    assert page.find_elements(By.CSS_SELECTOR, '.boxes path.found')
    assert page.find_elements(By.CSS_SELECTOR, '.boxes path.false')
    assert page.find_elements(By.CSS_SELECTOR, '.boxes path.missed')


def test_the_slider_leaves_out_what_scores_less(show, written, comparison):
    page = show(written['comparison'])
    page.find_elements(By.CSS_SELECTOR, 'fieldset label')[2].click()
    gallery = comparison.sections[-1].parts[0]
    for score in (0.05, 0.5, 1.0):
        slide(page, score)
        outlines = page.execute_script(
            'return [...document.querySelectorAll(".boxes path:not(.under, .missed)")]'
            '.map((path) => path.getAttribute("d")).join("")'
        )
        boxes = [box for each in gallery.pictures for box in each.boxes[2] if box[5] >= score]
        crowds = [box for each in gallery.pictures for box in each.boxes[0] if not box[5]]
        assert len(boxes) - len(crowds) * 3 <= outlines.count('M') <= len(boxes)
        assert f'score from {score:.2f}' in tally(page)
    assert ': 0 of ' in tally(page)


def test_one_class_may_be_chosen(show, written, comparison):
    page = show(written['comparison'])
    pictures = comparison.sections[-1].parts[0].pictures
    page.find_element(By.TAG_NAME, 'select').send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    own = [box for each in pictures for box in each.boxes[0] if box[4] == 1 and box[5]]
    assert tally(page) == f'{len(own)} objects in these images'


def test_a_picture_is_enlarged_and_its_boxes_named(show, written):
    page = show(written['comparison'])
    card = page.find_elements(By.CSS_SELECTOR, '.cards .card')[1]
    button = card.find_element(By.TAG_NAME, 'button')
    assert page.execute_script('return document.querySelectorAll(".boxes text").length') == 0
    width = card.size['width']
    button.send_keys(Keys.ENTER)
    assert button.get_attribute('aria-pressed') == 'true'
    assert card.size['width'] > 2 * width
    names = card.find_elements(By.CSS_SELECTOR, '.boxes text')
    assert names
    assert {name.text for name in names} <= set(CLASSES)
    button.click()
    assert card.size['width'] == width


def test_a_teachers_rows_before_and_after(show, written):
    page = show(written['teacher'])
    assert len(page.find_elements(By.CSS_SELECTOR, '.matrix')) == 3
    rows = page.find_elements(By.CSS_SELECTOR, '.bars')
    assert [row.find_element(By.TAG_NAME, 'h3').text for row in rows] == [
        f'{CLASSES[1]} (ground-truth box): 65.0 % moves',
        f'{CLASSES[1]}: 50.0 % moves',
    ]
    label = rows[0].find_element(By.CSS_SELECTOR, 'tr.label')
    assert [text.split()[0] for text in texts(label, 'td')] == ['15.0', '80.0', '15.0']
    assert page.find_elements(By.CSS_SELECTOR, 'table.ordered')
