"""The instructions of the sort on CUDA, by basic blocks, without a device.

The kernel is compiled for a Hopper GPU as ``tests/functional/kernel_compiler.py`` does it, and
taken apart by the ``nvdisasm`` that comes with Triton.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch
from report import ROOT, Table

sys.path += [str(ROOT), str(ROOT / 'tests/functional')]

import kernel_compiler
import triton

_LABEL = re.compile(r'^(\.L_\w+):')
_INSTRUCTION = re.compile(r'\s+/\*[0-9a-f]+\*/\s+(?:@!?\w+\s+)?([A-Z]\w*)')
_ENDS = {'BRA', 'EXIT'}


def disassemble(program: bytes) -> str:
    """Text of a program for the GPU."""
    tool = Path(triton.__file__).parent / 'backends/nvidia/bin/nvdisasm'
    with tempfile.NamedTemporaryFile(suffix='.cubin') as file:
        file.write(program)
        file.flush()
        done = subprocess.run([tool, '-c', file.name], capture_output=True, text=True, check=True)
    return done.stdout


def blocks_of(text: str) -> list[tuple[str, Counter[str]]]:
    """Label, or '' of a block that is fallen into, and instructions by name."""
    blocks: list[tuple[str, Counter[str]]] = [('', Counter())]
    for line in text.splitlines():
        if label := _LABEL.match(line):
            blocks.append((label[1], Counter()))
        elif found := _INSTRUCTION.match(line):
            blocks[-1][1][found[1]] += 1
            if found[1] in _ENDS:
                blocks.append(('', Counter()))
    return [(label, counts) for label, counts in blocks if counts]


def main() -> None:
    """Print the blocks of one case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('rows', type=int)
    parser.add_argument('classes', type=int)
    parser.add_argument('--dtype', choices=('float32', 'float16', 'bfloat16'), default='float32')
    args = parser.parse_args()
    kernel_compiler.sort_cuda.launch = kernel_compiler.compile_only
    logits = torch.zeros(args.rows, args.classes, dtype=getattr(torch, args.dtype))
    kernel_compiler.sort_cuda.sort_rows(logits, torch.zeros(args.rows, dtype=torch.int64), None)
    (program,) = kernel_compiler.programs.values()
    rows = [
        [label, str(counts.total()), ', '.join(f'{k} {v}' for k, v in counts.most_common(6))]
        for label, counts in blocks_of(disassemble(program))
    ]
    title = f'{args.rows} × {args.classes}, {args.dtype}'
    Table(title, ['block', 'instructions', 'most frequent'], rows).show()


if __name__ == '__main__':
    main()
