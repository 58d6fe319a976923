from .predicted_views import VIEW_TASK as VIEW_TASK, predict_views as predict_views, tells_views as tells_views
from .published import import_published as import_published
from .scorers import (
    Embed as Embed,
    Model as Model,
    Scorer as Scorer,
    Vectors as Vectors,
    task_key as task_key,
    task_scorer as task_scorer,
)
from .sweep import (
    Swept as Swept,
    columns_of as columns_of,
    stored as stored,
    sweep as sweep,
    sweep_without_keeping as sweep_without_keeping,
)
from .task import (
    AGGREGATES as AGGREGATES,
    NAME as NAME,
    NOT_VALIDATED as NOT_VALIDATED,
    Aggregate as Aggregate,
    Form as Form,
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
    write_tasks as write_tasks,
)
from .task_text import read_task as read_task, to_plain as to_plain, to_yaml as to_yaml
