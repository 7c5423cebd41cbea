"""`python -m coinkit VERB ...` is the console script `coinkit`."""

import sys

from coinkit.cli.main import main

if __name__ == '__main__':
    sys.exit(main())
