"""``python -m sizing`` = ``qwenkit``."""

from sizing.cli import main

main()
