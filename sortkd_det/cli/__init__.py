"""What the command-line tools share: from a command line to a run."""

import warnings

# MMEngine imports pkg_resources for each `mmdet::` base file and is told off each time.
warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
