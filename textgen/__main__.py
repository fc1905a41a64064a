"""Runs the command line as `python -m textgen`."""

import sys

from textgen.cli.main import main

sys.exit(main())
