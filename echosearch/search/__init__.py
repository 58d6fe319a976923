"""From a question to hits: filters over names, units, ranking. Knows no model and no printing."""

from echosearch.search.doubts import doubts as doubts
from echosearch.search.measures import Measured as Measured, by_study as by_study, domain as domain, measure as measure
from echosearch.search.ranking import (
    Query as Query,
    combine as combine,
    ids_to_leave_out as ids_to_leave_out,
    search as search,
)
from echosearch.search.vocabulary import (
    DOMAIN as DOMAIN,
    DOMAIN_BY as DOMAIN_BY,
    Parts as Parts,
    Source as Source,
    Vocabulary as Vocabulary,
    task_of as task_of,
)
