"""Tables from outside, as the command line reads them: see `bayesgmm.words.rows`."""

from bayesgmm.words.rows import Table as Table
from bayesgmm.words.rows import read_table as read_table
