"""Groups of patients by what is known of them: sex, age band, view, and the crossings of two."""

import numpy as np
import pandas as pd

AGE_BANDS = ((0, 20), (20, 40), (40, 60), (60, 80), (80, 200))

CROSSED = (("sex", "age"), ("sex", "view"), ("age", "view"))
"""What is crossed with what."""

FEW_ROWS = 50
"""Groups smaller than this are named but not scored."""

UNKNOWN = "unknown"


def groups(table: pd.DataFrame) -> dict[str, dict[str, np.ndarray]]:
    """Rows (bool) of each group, by sex, age band, view and the crossings of two; blank values are "unknown"."""
    age = table["age"].to_numpy(float)
    bands = {
        f"{low} to {high - 1}" if high < 200 else f"{low}+": (age >= low) & (age < high) for low, high in AGE_BANDS
    }
    found: dict[str, dict[str, np.ndarray]] = {"sex": {}, "age": bands | {UNKNOWN: np.isnan(age)}, "view": {}}
    for name in ("sex", "view"):
        found[name] = {word or UNKNOWN: (table[name] == word).to_numpy() for word in sorted(set(table[name]))}
    for one, two in CROSSED:
        found[f"{one} and {two}"] = {
            f"{a}, {b}": rows & others for a, rows in found[one].items() for b, others in found[two].items()
        }
    return {name: {k: rows for k, rows in parts.items() if rows.any()} for name, parts in found.items()}
