"""The former name of `tools/to_coco.py voc`: names the command that does it now."""

import shlex
import sys

if __name__ == '__main__':
    command = shlex.join(['python', 'tools/to_coco.py', 'voc', *sys.argv[1:]])
    sys.exit(f'error: tools/voc_to_coco.py has become tools/to_coco.py; run: {command}')
