"""What labels teach: calibrations, probes, evaluations, with intervals over whole patients. Knows no command line."""

from echosearch.learning import intervals as intervals, kept as kept
from echosearch.learning.calibration import (
    Calibration as Calibration,
    assumption as assumption,
    beginnings as beginnings,
    calibrate as calibrate,
    check_labels as check_labels,
    figures as figures,
    made_for as made_for,
    overlap as overlap,
)
from echosearch.learning.calling import check_named as check_named, fitting as fitting, tell as tell
from echosearch.learning.evaluation import (
    Evaluation as Evaluation,
    LevelResult as LevelResult,
    Threshold as Threshold,
    check_finding as check_finding,
    check_range as check_range,
    check_value as check_value,
    evaluate as evaluate,
    frozen_threshold as frozen_threshold,
)
from echosearch.learning.intervals import Estimate as Estimate
from echosearch.learning.kept import named as named, read as read
from echosearch.learning.labels import LabelFile as LabelFile, read_labels as read_labels
from echosearch.learning.predictions import (
    IdColumn as IdColumn,
    check_predictable as check_predictable,
    write_predictions as write_predictions,
)
from echosearch.learning.probe import (
    PREFIX as PREFIX,
    AnyTask as AnyTask,
    Features as Features,
    Probe as Probe,
    Training as Training,
    probe_key as probe_key,
    probe_kind as probe_kind,
    probe_scorer as probe_scorer,
    train as train,
)
from echosearch.learning.reach import (
    cautions as cautions,
    labelled_videos as labelled_videos,
    lengths as lengths,
    of_views as of_views,
    too_short as too_short,
    usable as usable,
)
from echosearch.learning.results import SweepResult as SweepResult, distribution as distribution
from echosearch.learning.retrieval import (
    ReportFile as ReportFile,
    Retrieval as Retrieval,
    Score as Score,
    pair as pair,
    read_reports as read_reports,
    retrieval as retrieval,
)
from echosearch.learning.sample import (
    LOG_ODDS as LOG_ODDS,
    Sample as Sample,
    chosen_classes as chosen_classes,
    decision as decision,
    sample as sample,
    scale_of as scale_of,
    unknown_patients as unknown_patients,
    weight_of as weight_of,
)
from echosearch.learning.statistics import aggregate as aggregate
from echosearch.learning.thresholds import ThresholdRule as ThresholdRule
