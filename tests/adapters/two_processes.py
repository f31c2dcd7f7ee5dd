"""Two processes that distil families, one of them without objects: are their gradients equal?

``python two_processes.py RetinaNet GFL`` prints what it found, by family, as JSON.
"""

import importlib.util
import json
import logging
import multiprocessing
import sys
import tempfile

import torch
from thin_detectors import prepared, student_of, teacher_of, total
from torch import distributed, nn

from sortkd_det.adapters import build_adapter
from sortkd_det.distill import Method

# YOLOv3 the last convolution of its backbone, the others parts of their heads for which a process
# has no objects; alone, too, they would wait for each other for ever.
LEAVE_SOME_UNUSED = {'YOLOv3', 'CondInst', 'RTMDet-Ins', 'SOLOv2', 'Grid R-CNN', 'SCNet'}
#: Families that cannot run here: MMDetection's CenterNet2 divides integers in place in a process
#: without objects, distilled or not; its PAA needs scikit-learn.
LEFT_OUT = {'CenterNet2'} if importlib.util.find_spec('sklearn') else {'CenterNet2', 'PAA'}


class Distilled(nn.Module):
    """A student whose forward gives the sum of all losses, as a run's does."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.student = student_of(name)
        self.adapter = build_adapter(None, self.student, teacher_of(name))
        terms = [{'loss': 'KDLoss', 'processors': ['SortLogits']}]
        if 'offsets' in self.adapter.gives:
            terms.append({'type': 'BoxTerm'})
        self.method = Method(terms)
        self.handles = self.adapter.attach()

    def forward(self, inputs, data_samples):
        self.adapter.reset()
        self.adapter.prepare(inputs, data_samples)
        losses = self.student(inputs, data_samples, mode='loss')
        losses |= self.method(self.adapter.batch(inputs, data_samples), 1)
        return total(losses)


def compare(name: str, rank: int) -> dict[str, bool]:
    model = nn.parallel.DistributedDataParallel(
        Distilled(name), find_unused_parameters=name in LEAVE_SOME_UNUSED
    )
    objects = (2, 1) if rank == 0 else (0, 0)
    model(*prepared(model.module.student, name, objects=objects, seed=rank)).backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    own = torch.cat(gradients)
    others = [torch.empty_like(own) for _ in range(2)]
    distributed.all_gather(others, own)
    return {
        'equal': torch.equal(*others),
        'finite': bool(own.isfinite().all()),
        'any': bool(own.any()),
    }


def run(rank: int, store: str, names: list[str]) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group('gloo', f'file://{store}', rank=rank, world_size=2)
    found = {name: compare(name, rank) for name in names}
    if rank == 0:
        print(json.dumps(found), flush=True)
    distributed.destroy_process_group()


def main(names: list[str]) -> None:
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)  # threads do not outlive a fork
    for name in names:
        student_of(name), teacher_of(name)
    context = multiprocessing.get_context('fork')
    with tempfile.TemporaryDirectory() as folder:
        arguments = (f'{folder}/store', names)
        processes = [context.Process(target=run, args=(rank, *arguments)) for rank in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
    sys.exit(any(process.exitcode for process in processes))


if __name__ == '__main__':
    main(sys.argv[1:])
