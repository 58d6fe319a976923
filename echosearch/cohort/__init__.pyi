from . import kept as kept
from .audit import (
    Audit as Audit,
    AuditedCohort as AuditedCohort,
    AuditLabels as AuditLabels,
    JudgedAudit as JudgedAudit,
    Strategy as Strategy,
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
    check_repeatable as check_repeatable,
    diff as diff,
    followed as followed,
    pinned as pinned,
    rerun as rerun,
    task_of_measure as task_of_measure,
)
from .export import (
    ExportedCohort as ExportedCohort,
    ExportedList as ExportedList,
    Format as Format,
)
from .identifying import (
    IDS as IDS,
    identifying as identifying,
    manifest_of as manifest_of,
    redacted as redacted,
    without_identifiers as without_identifiers,
)
from .making import make as make
from .purge import purged_audit as purged_audit, purged_cohort as purged_cohort
