"""`python -m subdit`."""

from subdit.cli import main

main()
