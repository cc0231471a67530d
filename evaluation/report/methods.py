"""What was computed and how, in words: the foot of every table, the definitions, and a paragraph to paste."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

from evaluation.analysis.dependence import SMALLEST_GROUP
from evaluation.analysis.paired import Margins
from evaluation.analysis.statistics import ALPHA, EXACT_UP_TO, LEVEL, RESAMPLES
from evaluation.scoring.rules import DROP, EMPTY_POLICIES, NAN, PENALTY, ScoringRules
from evaluation.scoring.table import DISTANCES, METRICS, PRIMARY
from nnunet_synth_aug.core.labels import MYOCARDIAL_DENSITY

SURFACE = (
    "Voxels of the mask with a face neighbour outside it (6-neighbourhood in 3D; the image border counts as outside), at "
    "their centres; distances in mm in 3D on the native grid. HD, HD95 and ASSD so defined equal medpy.metric.binary.hd, hd95 and assd."
)
LARGEST_HEART = (
    "Of every prediction of all arms only the largest connected part of all structures together was scored (26-neighbourhood), as "
    "nnU-Net's postprocessing of the foreground leaves it. Islands are an error that this hides."
)
_BOTH_EMPTY = (
    "Excluded from every metric and counted. If only one arm is empty there (the other predicts a structure that the ground truth lacks), "
    "the arm that is right gets the perfect score, so that the error of the other is not hidden."
)
#: What an empty mask scores, for the foot of a table.
EMPTY_IN_SHORT = {
    PENALTY: "one mask empty: overlap 0, distance the diagonal of the image box",
    NAN: "one mask empty: overlap 0, distance left out of both arms",
    DROP: "one mask empty: the case left out of both arms",
}
_EMPTY_IN_A_PAPER = {
    PENALTY: "overlap was set to 0 and distances to the diagonal of the image box; a second analysis left these cases out of both arms",
    NAN: "overlap was set to 0, and the case took no part in the analysis of distances, in either arm",
    DROP: "the case took no part in the analysis, in either arm",
}
_STATISTICS = {
    "Volume": "Number of voxels times voxel volume. EF from ED and ES of the same patient; LV mass is the myocardial volume at ED times "
    f"{MYOCARDIAL_DENSITY:g} g/mL.",
    "Rank-biserial": "Sum of ranks in favour of augmentation minus sum of ranks against, over the sum of both: from \N{MINUS SIGN}1 to 1, "
    "positive favours augmentation.",
    "d_z": "Mean of the patients' differences over their standard deviation; positive favours augmentation.",
    "Better / tied / worse": "Patients for whom the augmented arm is better, equal or worse; equal up to the tie margin, if one was given.",
    "Non-inferiority": f"Shown when the whole {LEVEL:.0%} interval lies on the better side of minus the margin (a one-sided test at "
    f"{(1 - LEVEL) / 2:.1%}), the wider interval where there are several trainings. Not corrected for the number of structures: the "
    "claim that all of them are non-inferior needs no correction, the claim that some are does.",
    "Slice level": "Thirds of the slices between the structure's first and last in the ground truth; what a prediction draws beyond them "
    "counts to the nearer third. The wider end of the heart is the base.",
}

#: The analysis, the same in every report.
METHODS = (
    "The unit of analysis is the patient. Seeds, ED and ES, and folds that scored the same patient are averaged first, so that every "
    "patient enters each test once; both arms rest on the same cases. The paired difference (augmented minus baseline) is given as its "
    f"mean with a {LEVEL:.0%} BCa bootstrap interval over patients ({RESAMPLES} resamples, fixed seed), "
    "widened to Student's t interval on the side where that reaches farther. The primary family, fixed in advance, is "
    f"{' and '.join(PRIMARY)} of every structure, tested with the two-sided Wilcoxon signed-rank test (zeros after Pratt; exact over all "
    f"sign flips for up to {EXACT_UP_TO} patients) and corrected after Holm. A difference is stated when the corrected p is below "
    f"{ALPHA:g} and the mean difference and the rank-biserial correlation agree in direction. Interval and test over patients hold for "
    "the trained networks at hand. Where both arms were trained several times (seeds, or folds that all predicted the same patients), a "
    "second interval takes the trainings as a sample, too (variances of the patients' differences and of the trainings' means added, the "
    "larger of both arms' standing for both; t distribution after Satterthwaite), and the larger of both p-values is corrected: a "
    "difference between methods is stated only when it exceeds what another training would change. Whether a difference depends on vendor "
    "or centre, where patients of several are known, is asked in a family of its own: a permutation test over patients (James's statistic, "
    f"{RESAMPLES} deals, groups of at least {SMALLEST_GROUP} patients), corrected after Holm, for the trained networks at hand. "
    "All other tables are descriptive: "
    "their intervals are not corrected for multiplicity."
)

RANKING = (
    "Arms are ranked by their mean over patients, trainings averaged. The shares tell how often an arm has each rank when patients (and "
    "trainings, where there are several) are drawn again; Kendall's τ is the mean agreement of those rankings with the one shown: 1 "
    "where every pair of arms always keeps its order, 0 where chance decides. A rank without a difference between the arms is no finding."
)


def stated(metrics: Sequence[str], rules: ScoringRules | None, *, failures: bool = True) -> str:
    """One line for the foot of a table of ``metrics``: their definitions, and what empty masks scored if ``failures`` are in it."""
    parts = []
    for metric in metrics:
        text = f"{metric}: {METRICS[metric].short}"
        parts.append(f"{text} ({rules.tolerance_text()})" if metric == "Surface Dice" and rules else text)
    heart = ["largest connected heart of every prediction alone"] if rules and rules.largest_heart else []
    empty = EMPTY_IN_SHORT[rules.empty] if rules else "empty masks: as in the tables that were read"
    return "; ".join([*parts, *heart, *([empty] if failures else [])]) + "."


def definitions(rules: ScoringRules | None) -> dict[str, str]:
    """Every term of a report."""
    found = {name: metric.definition for name, metric in METRICS.items()}
    of_empty = "As in the tables that were read, which came without word of it."
    if rules:
        found["Tolerance of the surface Dice"] = f"{rules.tolerance_text()}."
        of_empty = f"Policy '{rules.empty}'. {EMPTY_POLICIES[rules.empty]}"
    if rules and rules.largest_heart:
        found["Largest heart"] = LARGEST_HEART
    listed = " Failures are listed by case; the sensitivity table leaves these pairs out of both arms."
    return {**found, "Surface": SURFACE, "Both masks empty": _BOTH_EMPTY, "One mask empty": of_empty + listed, **_STATISTICS}


def methods(
    names: Sequence[str],
    structures: Sequence[str],
    patients: int,
    rules: ScoringRules | None,
    margins: Margins,
    versions: Mapping[str, str],
    *,
    trainings: Sequence[int] = (1,),
) -> str:
    """A paragraph for the methods of a paper.

    Args:
        names: of the arms, the baseline first.
        trainings: of each arm.
    """
    others = " and ".join(f"“{name}”" for name in names[1:])
    each = f", each arm trained {_counts(trainings)} times," if max(trainings) > 1 else ""
    tolerance = f" (tolerance {rules.tolerance_text()})" if rules else ""
    opening = (
        f"The segmentations of {_listed(structures)} by “{names[0]}” (baseline) and {others}{each} were compared with the reference masks "
        f"of the same {patients} patients in 3D, on the native grid, with each image's voxel spacing. Dice is 2 TP / (2 TP + FP + FN). "
        f"{', '.join(DISTANCES)} are in mm, between the centres of surface voxels (6-neighbourhood), HD95 and ASSD over the pooled "
        f"distances of both directions, equal to the definitions of medpy; the surface Dice is weighted by area{tolerance}. "
    )
    heart = "Of every prediction the largest connected heart alone was scored (26-neighbourhood). " if rules and rules.largest_heart else ""
    empty = f"Where exactly one mask was empty, {_EMPTY_IN_A_PAPER[rules.empty]}. " if rules else ""
    ties = f" Differences of a patient up to {_with_units(margins.ties)} counted as ties." if margins.ties else ""
    margin = (
        f" Non-inferiority margins: {_with_units(margins.noninferiority)}; non-inferiority was shown when the whole {LEVEL:.0%} interval "
        "lay on the better side of minus the margin."
        if margins.noninferiority
        else ""
    )
    software = ", ".join(f"{name} {versions[name]}" for name in ("nnunet-synth-aug", "Python", "numpy", "scipy") if name in versions)
    return f"{opening}{heart}{empty}{METHODS}{ties}{margin} Software: {software}."


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _counts(trainings: Sequence[int]) -> str:
    return str(trainings[0]) if len(set(trainings)) == 1 else " and ".join(map(str, trainings))


def _with_units(limits: Mapping[str, float]) -> str:
    return ", ".join(f"{metric} {value:g}{f' {METRICS[metric].unit}' if METRICS[metric].unit else ''}" for metric, value in limits.items())


def versions() -> dict[str, str]:
    """Python and the packages that numbers or figures come from, those that are installed."""
    found = {"Python": platform.python_version()}
    for package in ("nnunet-synth-aug", "numpy", "scipy", "pandas", "matplotlib", "nibabel", "medpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
