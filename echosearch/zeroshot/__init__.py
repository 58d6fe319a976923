"""Zero-shot tasks over a whole index: scores, sweeps, calibration, probes, evaluation. Knows no command line."""
