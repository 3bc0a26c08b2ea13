"""``python -m enkash_coins.cli``."""

import sys

from enkash_coins.cli import main

sys.exit(main())
