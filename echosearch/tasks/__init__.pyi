from .modes.mode import (
    LOG_ODDS as LOG_ODDS,
    Aggregate as Aggregate,
    Form as Form,
    Mode as Mode,
    Model as Model,
)
from .published import import_published as import_published
from .sweep import (
    VIEW_TASK as VIEW_TASK,
    Embed as Embed,
    Scorer as Scorer,
    Swept as Swept,
    Vectors as Vectors,
    columns_of as columns_of,
    predict_views as predict_views,
    stored as stored,
    sweep as sweep,
    sweep_without_keeping as sweep_without_keeping,
    tells_views as tells_views,
)
from .task import (
    AGGREGATES as AGGREGATES,
    NAME as NAME,
    NOT_VALIDATED as NOT_VALIDATED,
    PublishedFigure as PublishedFigure,
    Task as Task,
    TaskClass as TaskClass,
    ValueRange as ValueRange,
    task_from_dict as task_from_dict,
)
from .task_files import (
    BUILT_IN as BUILT_IN,
    SUFFIXES as SUFFIXES,
    find_task as find_task,
    folder_problems as folder_problems,
    known_tasks as known_tasks,
    plan_import as plan_import,
    to_plain as to_plain,
    to_yaml as to_yaml,
    write_tasks as write_tasks,
)
from .task_text import builtin_task as builtin_task, read_task as read_task
