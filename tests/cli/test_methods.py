"""Methods by name, and of one's own. What is wrong with one stands in test_bad_methods.py."""

from sortkd_det.cli.methods import MethodFile, known_methods, read_method

SORTKD = [
    dict(
        processors=[dict(type='SortLogits')],
        loss=dict(type='KDLoss', temperature=1.0, loss_weight=1.0),
    )
]


def test_a_method_is_known_by_the_name_of_its_file():
    assert {'kd', 'sortkd', 'dkd', 'sortdkd'} <= set(known_methods())
    assert read_method('sortkd') == MethodFile('sortkd', False, SORTKD, None, ['sortkd_det.hooks'])


def test_a_file_of_ones_own_may_say_how_much_the_students_losses_weigh(tmp_path):
    path = tmp_path / 'sortkd.py'
    path.write_text("temperature = 2.0\nmethod = [dict(loss='KDLoss')]\nstudent_weight = 0.1\n")
    assert read_method(str(path)) == MethodFile('sortkd', True, [dict(loss='KDLoss')], 0.1, [])
