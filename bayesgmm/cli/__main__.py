"""``python -m bayesgmm.cli``."""

from bayesgmm.cli.commands import main

main()
