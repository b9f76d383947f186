"""`python -m fgrad` is the command `fgrad`.

Knows nothing else.
"""

import sys

from fgrad.cli import main

if __name__ == "__main__":
    sys.exit(main())
