"""`python -m mitools` is the command `mitools`."""

import sys

from mitools.cli import main

if __name__ == "__main__":  # processes of a sweep import this module too
    sys.exit(main())
