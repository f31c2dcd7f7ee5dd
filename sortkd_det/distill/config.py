"""Config files: read so that what is wrong with one is said in a sentence."""

import os
import traceback

from mmengine.config import Config


def read_config(path: str) -> Config:
    """The config in a file, its base files joined.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no config, a base file is missing, or executing it failed; the
            message says how, and where.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'config file {path} does not exist')
    try:
        return Config.fromfile(path)
    except Exception as error:  # it is a program
        frames = traceback.extract_tb(error.__traceback__)
        lines = [f' ({f.filename}, line {f.lineno})' for f in frames if f.name == '<module>']
        reason = str(error).strip().split('\n')[0]
        cause = error
        while isinstance(cause.__context__, ImportError):  # MMEngine's message leaves it out
            cause = cause.__context__
        if cause is not error:
            reason = f'{reason.partition(", the current sys.path")[0]}: {cause}'
        if isinstance(cause, ModuleNotFoundError):
            reason += '; the folder of a module of your own must be on PYTHONPATH'
        raise ValueError(
            f'config file {path} cannot be read: {type(error).__name__}: {reason}'
            + (lines[-1] if lines else '')
        ) from error
