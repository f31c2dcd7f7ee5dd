"""What folding a teacher's batch norms saves the host: operators, and processor time.

A Faster R-CNN with R101-FPN, a few channels wide, on a small image: there the time of its features
is what the host takes to launch them, on a CPU in place of a GPU. Both ways take turns.
"""

import argparse
import copy
import statistics
import time
from typing import Any

import torch
from mmengine.hub import get_config
from mmengine.registry import MODELS, init_default_scope
from report import Table, write_record
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sortkd_det.distill.fold_norms import fold_norms

WIDTH = 4  # channels of the first convolution
WARM_UP = 20  # turns that do not count


class Operators(TorchDispatchMode):
    """Counts what torch is asked to do."""

    number = 0

    def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += 1
        return function(*args, **(kwargs or {}))


def thin_teacher() -> nn.Module:
    """The teacher's backbone and neck, with random weights."""
    init_default_scope('mmdet')
    model = get_config('mmdet::faster_rcnn/faster-rcnn_r101_fpn_2x_coco.py').model
    backbone, neck = model.backbone, model.neck
    backbone.update(init_cfg=None, base_channels=WIDTH, stem_channels=WIDTH)
    neck.update(in_channels=[WIDTH * 4 * 2**level for level in range(4)], out_channels=2 * WIDTH)
    network = nn.Sequential(MODELS.build(backbone), MODELS.build(neck))
    return network.eval().requires_grad_(False)


def measure(networks: dict[str, nn.Module], image: Tensor, amp: bool, rounds: int) -> list[list]:
    """A row of the table for each network."""
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    numbers = {}
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16, enabled=amp):
        for name, network in networks.items():
            with Operators() as operators:
                network(image)
            numbers[name] = operators.number
        for turn in range(-WARM_UP, rounds):
            for name, network in networks.items():
                begun = time.process_time()
                network(image)
                if turn >= 0:
                    seconds[name].append(time.process_time() - begun)
    middle = {name: statistics.median(taken) for name, taken in seconds.items()}
    first = next(iter(middle.values()))
    return [
        [f'{name}{", AMP" * amp}', str(numbers[name]), f'{1e3 * taken:.2f}', f'{taken / first:.2f}']
        for name, taken in middle.items()
    ]


def main() -> None:
    """Measure both ways in float32 and under AMP."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--rounds', type=int, default=100, help='turns of each way (100)')
    parser.add_argument('--out', help='write a Markdown record')
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, 32, 32, generator=generator)
    plain = thin_teacher()
    folded = copy.deepcopy(plain)
    number = fold_norms(folded, lambda: folded(image))
    networks = {'as it is': plain, 'fuse_conv_bn': folded}
    rows = [row for amp in (False, True) for row in measure(networks, image, amp, args.rounds)]
    columns = ['features of R101-FPN', 'operators', 'processor time, ms', '÷ as it is']
    table = Table('Backbone and neck', columns, rows)
    table.show()
    if args.out:
        notes = [f'{number} batch norms folded; {WIDTH} channels in the first convolution, 32 × 32']
        write_record(args.out, 'Batch norms of a teacher, folded', [table], notes)


if __name__ == '__main__':
    main()
