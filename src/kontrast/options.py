"""Options that several commands share: the type of each, and the one text by which help explains it."""

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from kontrast.config import flag, require

Device = Annotated[str, Parameter(help="auto (the GPU where there is one), cpu, cuda or cuda:N.")]
ScoredUncertain = Annotated[
    str, Parameter(help="What -1 counts as: zeros, ones or ignore; per finding as `zeros,Edema=ones`.")
]
ScoredBlank = Annotated[
    Literal["negative", "ignore"],
    Parameter(help="What a blank label counts as: the finding is absent, or the case is not scored for it."),
]
Replicates = Annotated[
    int, Parameter(help="Bootstrap replicates behind the 95 % intervals, drawn by patient; 0 for no intervals.")
]
ScoredBy = Annotated[
    Literal["image", "study", "view"],
    Parameter(help="A case is an image or a study; view: images, and those of each view alone beside them."),
]
OverViews = Annotated[
    Literal["max", "mean"],
    Parameter(help="With --by study: the highest or the mean score of its images. Positive is it where any image is."),
]
Interval = Annotated[
    Literal["percentile", "bca"],
    Parameter(help="How replicates become intervals: by their percentiles, or corrected for bias and skewness (BCa)."),
]
Calibrate = Annotated[
    Literal["none", "temperature", "platt"],
    Parameter(help="How probabilities of each finding are corrected, on the validation split; ranks stay as they are."),
]
Prevalence = Annotated[
    str | None,
    Parameter(help="Share of positives at which PPV and NPV are given too: 0.05, per finding as `0.05,Edema=0.02`."),
]
ImagesAtATime = Annotated[int, Parameter(help="Images at a time; no effect on the result beyond rounding.")]


def at_least(config: Any, **lowest: float) -> None:
    """Check options of a configuration: each at or above its lowest value.

    Raises:
        UsageError: with the option and the value as they were typed.
    """
    for name, low in lowest.items():
        value = getattr(config, name)
        require(
            value is None or value >= low, f"{flag(name)} should be at least {low:g}, got {value}.", "Leave it out."
        )
