"""`python -m training.prepare`."""

from training.prepare.cli import main

raise SystemExit(main())
