from . import intervals as intervals, kept as kept
from .calibration import (
    Calibration as Calibration,
    CalibrationDetails as CalibrationDetails,
    NewCalibration as NewCalibration,
    assumption as assumption,
    figures as figures,
)
from .calling import check_named as check_named, tell as tell, too_short as too_short
from .evaluation import (
    Evaluation as Evaluation,
    LevelFigures as LevelFigures,
    LevelResult as LevelResult,
    Threshold as Threshold,
)
from .intervals import Estimate as Estimate
from .kept import named as named, read as read
from .labels import LabelFile as LabelFile, read_labels as read_labels
from .learn import (
    check_calibratable as check_calibratable,
    default_name as default_name,
    judge as judge,
    learn_calibration as learn_calibration,
    learn_probe as learn_probe,
    sweep_or_score as sweep_or_score,
)
from .predictions import (
    IdColumn as IdColumn,
    check_predictable as check_predictable,
    write_predictions as write_predictions,
)
from .probe import (
    PREFIX as PREFIX,
    AnyTask as AnyTask,
    NewProbe as NewProbe,
    Probe as Probe,
    ProbeDetails as ProbeDetails,
    Training as Training,
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
from .statistics import ReliabilityBin as ReliabilityBin, aggregate as aggregate
from .thresholds import ThresholdRule as ThresholdRule
