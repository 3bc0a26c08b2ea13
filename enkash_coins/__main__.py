"""``python -m enkash_coins``: the command."""

import sys

from enkash_coins.cli import main

sys.exit(main())
