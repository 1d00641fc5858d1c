"""``python -m toprovar``."""

import sys

from toprovar.cli import main

sys.exit(main())
