from .criteria import (
    Criteria as Criteria,
    Filtered as Filtered,
    matching as matching,
    read_criteria as read_criteria,
    tasks_named as tasks_named,
)
from .examples import (
    Embedded as Embedded,
    belonging as belonging,
    known_file as known_file,
)
from .measures import Measured as Measured, by_study as by_study
from .question import (
    Example as Example,
    Phrase as Phrase,
    Question as Question,
    Term as Term,
    Terms as Terms,
    check_units as check_units,
    conditions as conditions,
    examples as examples,
    listed as listed,
    phrases as phrases,
)
from .ranking import (
    Query as Query,
    answer as answer,
    combine as combine,
    embed as embed,
    nearest as nearest,
    ranked as ranked,
)
from .result import (
    Level as Level,
    Per as Per,
    SearchResult as SearchResult,
    Step as Step,
)
from .selection import (
    Pick as Pick,
    Ranked as Ranked,
    Selection as Selection,
    Unit as Unit,
    Units as Units,
    select as select,
)
from .vocabulary import (
    DOMAIN as DOMAIN,
    DOMAIN_BY as DOMAIN_BY,
    Parts as Parts,
    Source as Source,
    Vocabulary as Vocabulary,
)
