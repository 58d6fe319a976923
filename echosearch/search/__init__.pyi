from .doubts import doubts as doubts
from .measures import Measured as Measured, by_study as by_study, domain as domain, measure as measure
from .ranking import Query as Query, combine as combine, ids_to_leave_out as ids_to_leave_out, search as search
from .vocabulary import (
    DOMAIN as DOMAIN,
    DOMAIN_BY as DOMAIN_BY,
    Parts as Parts,
    Source as Source,
    Vocabulary as Vocabulary,
    task_of as task_of,
)
