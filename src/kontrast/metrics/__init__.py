"""How good predictions are: scores, their intervals, thresholds, calibration, localisation.

What belongs here: pure functions of arrays, numpy and scipy only. What does not: files, tables, labels' policies
(`data.labels` turns -1 and blank into targets; here a target is 1, 0 or NaN = ignored), pictures.
"""
