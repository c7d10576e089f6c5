"""`python -m pocketface` is the command `pocketface`."""

import sys

from pocketface.cli import main

sys.exit(main())
