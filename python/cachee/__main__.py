"""`python -m cachee`: the same as the `cachee` command."""

import sys

from cachee.cli import main

sys.exit(main())
