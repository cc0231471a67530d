"""Clinical volumes of predictions against ground truth: EDV, ESV, EF and LV mass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from evaluation.analysis.paired import SIDES
from evaluation.scoring.table import REFERENCE_VOLUME, VOLUME
from nnunet_synth_aug.core.labels import MYOCARDIAL_DENSITY, PHASES


def clinical_values(table: pd.DataFrame, models: tuple[str, str] | None = None) -> pd.DataFrame:
    """EDV and ESV (mL) and EF (%) of LV and RV, and LV mass (g) at ED, for patients with both phases.

    Several folds or seeds of one patient are averaged. A patient takes part where both volumes were measured; EF also
    needs a predicted and a true EDV above 0.

    Args:
        table: long table (``evaluation.scoring.table``).
        models: names of baseline and augmented, which the column ``model`` then calls so; by default every model keeps its name.

    Returns:
        Columns quantity, unit, patient, model, predicted, reference.
    """
    volumes = table[table["metric"].isin([VOLUME, REFERENCE_VOLUME]) & table["phase"].isin(PHASES)]
    wide = volumes.pivot_table(index=["model", "patient", "structure"], columns=["metric", "phase"], values="value", aggfunc="mean")
    wide = wide.reindex(columns=pd.MultiIndex.from_product([[VOLUME, REFERENCE_VOLUME], PHASES]))
    rows: list[dict[str, Any]] = []
    side_of = dict(zip(models, SIDES, strict=True)) if models else {model: model for model in table["model"].unique()}
    for (model, patient, structure), cells in zip(wide.index, wide.to_numpy(float), strict=True):
        edv, esv, edv_ref, esv_ref = cells
        if structure in ("LV", "RV") and np.isfinite(cells).all():
            quantities = [(f"{structure} EDV", "mL", edv, edv_ref), (f"{structure} ESV", "mL", esv, esv_ref)]
            if edv > 0 and edv_ref > 0:
                quantities.append((f"{structure} EF", "%", 100 * (edv - esv) / edv, 100 * (edv_ref - esv_ref) / edv_ref))
        elif structure == "MYO" and np.isfinite([edv, edv_ref]).all():
            quantities = [("LV mass", "g", edv * MYOCARDIAL_DENSITY, edv_ref * MYOCARDIAL_DENSITY)]
        else:
            continue
        rows += [
            {"quantity": q, "unit": u, "patient": patient, "model": side_of[model], "predicted": p, "reference": r}
            for q, u, p, r in quantities
        ]
    return pd.DataFrame(rows, columns=["quantity", "unit", "patient", "model", "predicted", "reference"])


QUANTITIES = ("LV EDV", "LV ESV", "LV EF", "RV EDV", "RV ESV", "RV EF", "LV mass")


def agreement(values: pd.DataFrame) -> pd.DataFrame:
    """Agreement of predicted and true values per quantity and model.

    Returns:
        Per quantity and model: n patients; Bland-Altman ``bias`` and 95 % limits of agreement (bias ± 1.96 SD; Lancet
        1986;327:307) with the half-widths ``bias_ci`` and ``limit_ci`` of their 95 % intervals (t distribution, SE of a limit
        after Bland and Altman, Stat Methods Med Res 1999;8:135); ``mae``; Pearson ``r``. NaN where n is too small.
    """
    rows: list[dict[str, Any]] = []
    present = list(values["model"].unique())
    models = [side for side in SIDES if side in present] + sorted(model for model in present if model not in SIDES)
    for quantity in QUANTITIES:
        for side in models:
            one = values[(values["quantity"] == quantity) & (values["model"] == side)]
            if one.empty:
                continue
            predicted, reference = one["predicted"].to_numpy(float), one["reference"].to_numpy(float)
            error = predicted - reference
            n = error.size
            sd = error.std(ddof=1) if n > 1 else np.nan
            t = stdtrit(n - 1, 0.975) if n > 1 else np.nan
            varied = n > 2 and np.ptp(predicted) > 0 and np.ptp(reference) > 0
            rows.append(
                {
                    "quantity": quantity,
                    "unit": one["unit"].iloc[0],
                    "model": side,
                    "n": n,
                    "bias": error.mean(),
                    "bias_ci": t * sd / np.sqrt(n),
                    "limit_low": error.mean() - 1.96 * sd,
                    "limit_high": error.mean() + 1.96 * sd,
                    "limit_ci": t * sd * np.sqrt(1 / n + 1.96**2 / (2 * (n - 1))) if n > 1 else np.nan,
                    "mae": np.abs(error).mean(),
                    "r": np.corrcoef(predicted, reference)[0, 1] if varied else np.nan,
                }
            )
    return pd.DataFrame(rows)
