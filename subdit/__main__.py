"""`python -m subdit`."""

from nas.cli import main

main()
