"""``python -m sizing`` = ``qwenkit``."""

from sizing.cli.main import main

main()
