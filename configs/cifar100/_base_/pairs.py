# Settings of the authors' released runs: lr and beta of DKD's (arXiv 2203.08679), temperature and
# weight of LSKD's (arXiv 2403.01427), the learning rate of SLD's (arXiv 2504.20108).
_columns = ('teacher', 'student', 'lr', 'beta', 'lskd_temperature', 'lskd_weight', 'sld_lr')
_rows = [
    ('resnet56', 'resnet20', 0.05, 2.0, 2.0, 9.0, 0.025),
    ('resnet110', 'resnet32', 0.05, 2.0, 2.0, 9.0, 0.025),
    ('resnet32x4', 'resnet8x4', 0.05, 8.0, 2.0, 9.0, 0.025),
    ('wrn_40_2', 'wrn_16_2', 0.05, 6.0, 2.0, 9.0, 0.025),
    ('wrn_40_2', 'wrn_40_1', 0.05, 6.0, 2.0, 9.0, 0.025),
    ('vgg13', 'vgg8', 0.05, 6.0, 3.0, 9.0, 0.025),
    ('vgg13', 'MobileNetV2', 0.01, 6.0, 3.0, 9.0, 0.008),
    ('ResNet50', 'MobileNetV2', 0.01, 8.0, 3.0, 1.0, 0.008),
    ('resnet32x4', 'ShuffleV1', 0.01, 8.0, 2.0, 9.0, 0.009),
    ('resnet32x4', 'ShuffleV2', 0.01, 8.0, 2.0, 9.0, 0.008),
    ('wrn_40_2', 'ShuffleV1', 0.01, 8.0, 2.0, 9.0, 0.01),
]
pairs = {f'{row[0]}-{row[1]}': dict(zip(_columns, row)) for row in _rows}  # noqa: B905
