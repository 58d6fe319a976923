from .audit import (
    Audit as Audit,
    AuditedCohort as AuditedCohort,
    AuditLabels as AuditLabels,
    JudgedAudit as JudgedAudit,
    Strategy as Strategy,
    draw as draw,
    judged_audit as judged_audit,
    labels as labels,
    precision as precision,
    suggestions as suggestions,
)
from .cohort import (
    Cohort as Cohort,
    CohortManifest as CohortManifest,
    Definition as Definition,
    Distribution as Distribution,
    Measure as Measure,
    Member as Member,
    Summary as Summary,
    TableRow as TableRow,
)
from .compare import (
    Difference as Difference,
    Rerun as Rerun,
    RerunAnswer as RerunAnswer,
    diff as diff,
    followed as followed,
    rerun as rerun,
)
from .export import (
    ExportedCohort as ExportedCohort,
    ExportedList as ExportedList,
    Format as Format,
    export as export,
)
from .identifying import (
    IDS as IDS,
    identifying as identifying,
    manifest_of as manifest_of,
    redacted as redacted,
    without_identifiers as without_identifiers,
)
from .making import (
    bounds_of as bounds_of,
    distributions_of as distributions_of,
    measures_of as measures_of,
    members_of as members_of,
    studied as studied,
    table_one as table_one,
)
from .pinned import pinned as pinned, task_of_measure as task_of_measure
from .purge import purged_audit as purged_audit, purged_cohort as purged_cohort
from .sheet import read_judgements as read_judgements, write_sheet as write_sheet
