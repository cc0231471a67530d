"""Clinical volumes of predictions against ground truth: EDV, ESV, EF and LV mass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from evaluation.pairing import SIDES
from evaluation.table import REFERENCE_VOLUME, VOLUME
from nnunet_synth_aug.labels import MYOCARDIAL_DENSITY, PHASES


def clinical_values(table: pd.DataFrame, models: tuple[str, str]) -> pd.DataFrame:
    """EDV and ESV (mL) and EF (%) of LV and RV, and LV mass (g) at ED, for patients with both phases.

    Several folds or seeds of one patient are averaged. Columns: quantity, unit, patient, model (``baseline`` or
    ``augmented``), predicted, reference.
    """
    volumes = table[table["metric"].isin([VOLUME, REFERENCE_VOLUME]) & table["phase"].isin(PHASES)]
    wide = volumes.pivot_table(index=["model", "patient", "structure"], columns=["metric", "phase"], values="value", aggfunc="mean")
    wide = wide.reindex(columns=pd.MultiIndex.from_product([[VOLUME, REFERENCE_VOLUME], PHASES]))
    rows: list[dict[str, Any]] = []
    side_of = dict(zip(models, SIDES, strict=True))
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
    """Bland-Altman bias and 95 % limits (bias ± 1.96 SD; Lancet 1986), mean absolute error and Pearson r per quantity and arm."""
    rows: list[dict[str, Any]] = []
    for quantity in QUANTITIES:
        for side in SIDES:
            one = values[(values["quantity"] == quantity) & (values["model"] == side)]
            if one.empty:
                continue
            predicted, reference = one["predicted"].to_numpy(float), one["reference"].to_numpy(float)
            error = predicted - reference
            sd = error.std(ddof=1) if error.size > 1 else np.nan
            varied = error.size > 2 and np.ptp(predicted) > 0 and np.ptp(reference) > 0
            rows.append(
                {
                    "quantity": quantity,
                    "unit": one["unit"].iloc[0],
                    "model": side,
                    "n": error.size,
                    "bias": error.mean(),
                    "limit_low": error.mean() - 1.96 * sd,
                    "limit_high": error.mean() + 1.96 * sd,
                    "mae": np.abs(error).mean(),
                    "r": np.corrcoef(predicted, reference)[0, 1] if varied else np.nan,
                }
            )
    return pd.DataFrame(rows)
