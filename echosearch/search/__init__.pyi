from .doubts import doubts as doubts
from .examples import (
    Embedded as Embedded,
    Found as Found,
    belonging as belonging,
    find as find,
    known_file as known_file,
)
from .measures import Measured as Measured, by_study as by_study, domain as domain, measure as measure
from .question import (
    Example as Example,
    Phrase as Phrase,
    Question as Question,
    Term as Term,
    Terms as Terms,
    check_units as check_units,
    listed as listed,
    terms as terms,
)
from .ranking import Query as Query, best_of_units as best_of_units, combine as combine, nearest as nearest
from .result import (
    Filtering as Filtering,
    Level as Level,
    Per as Per,
    SearchResult as SearchResult,
    Step as Step,
)
from .selection import (
    Criteria as Criteria,
    Pick as Pick,
    Ranked as Ranked,
    Selection as Selection,
    Unit as Unit,
    Units as Units,
    criteria_of as criteria_of,
    ranked as ranked,
    select as select,
)
from .vocabulary import (
    DOMAIN as DOMAIN,
    DOMAIN_BY as DOMAIN_BY,
    Parts as Parts,
    Source as Source,
    Vocabulary as Vocabulary,
    task_of as task_of,
)
