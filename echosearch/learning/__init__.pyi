from . import intervals as intervals, kept as kept
from .calibration import (
    Calibration as Calibration,
    CalibrationDetails as CalibrationDetails,
    NewCalibration as NewCalibration,
    assumption as assumption,
    beginnings as beginnings,
    calibrate as calibrate,
    check_labels as check_labels,
    figures as figures,
    made_for as made_for,
    overlap as overlap,
)
from .calling import check_named as check_named, fitting as fitting, tell as tell
from .evaluation import (
    Evaluation as Evaluation,
    LevelFigures as LevelFigures,
    LevelResult as LevelResult,
    Threshold as Threshold,
    check_finding as check_finding,
    check_range as check_range,
    check_value as check_value,
    evaluate as evaluate,
    frozen_threshold as frozen_threshold,
)
from .intervals import Estimate as Estimate
from .kept import named as named, read as read
from .labels import LabelFile as LabelFile, read_labels as read_labels
from .predictions import (
    IdColumn as IdColumn,
    check_predictable as check_predictable,
    write_predictions as write_predictions,
)
from .probe import (
    PREFIX as PREFIX,
    Features as Features,
    NewProbe as NewProbe,
    Probe as Probe,
    ProbeDetails as ProbeDetails,
    Training as Training,
    probe_kind as probe_kind,
    train as train,
)
from .reach import (
    cautions as cautions,
    labelled_videos as labelled_videos,
    lengths as lengths,
    of_views as of_views,
    too_short as too_short,
    usable as usable,
)
from .results import SweepAnswer as SweepAnswer, SweepResult as SweepResult, distribution as distribution
from .retrieval import (
    ReportFile as ReportFile,
    Retrieval as Retrieval,
    RetrievalFigures as RetrievalFigures,
    Score as Score,
    pair as pair,
    read_reports as read_reports,
    retrieval as retrieval,
)
from .sample import (
    Sample as Sample,
    sample as sample,
    unknown_patients as unknown_patients,
)
from .statistics import ReliabilityBin as ReliabilityBin, aggregate as aggregate
from .thresholds import ThresholdRule as ThresholdRule
