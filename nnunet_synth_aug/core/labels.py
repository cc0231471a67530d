"""The only home of label values, structures, diagnoses and phases.

Inside this package every mask uses the ACDC values: 0 background, 1 RV, 2 MYO, 3 LV.
An importer translates its source with :data:`LABEL_MAPS`; nothing else holds a label value.
"""

BACKGROUND, RV, MYO, LV = 0, 1, 2, 3

#: Structure name -> label value, in the order of every table.
STRUCTURES: dict[str, int] = {"RV": RV, "MYO": MYO, "LV": LV}
N_CLASSES = 1 + len(STRUCTURES)

#: Source data set -> {value in its files: value here}; background is always 0.
LABEL_MAPS: dict[str, dict[int, int]] = {
    "acdc": {1: RV, 2: MYO, 3: LV},
    "mnms": {1: LV, 2: MYO, 3: RV},  # M&Ms and M&Ms-2
    "sunnybrook": {2: MYO, 3: LV},  # no RV contours, MYO at ED only
}

#: ACDC's five groups; "RV" is an abnormal right ventricle.
DIAGNOSES: tuple[str, ...] = ("NOR", "MINF", "DCM", "HCM", "RV")

#: Source data set -> {group in its table: group here}. Groups that have no counterpart are left unspecified: M&Ms-2's "LV"
#: is a dilated ventricle whatever its EF, M&Ms' "IHD" is ischaemia with or without an infarct.
DIAGNOSIS_MAPS: dict[str, dict[str, str]] = {
    "mnms": {"NOR": "NOR", "HCM": "HCM", "DCM": "DCM", "ARV": "RV"},
    "mnms2": {"NOR": "NOR", "HCM": "HCM", "RV": "RV"},
}

#: End-diastole is the frame with the largest LV volume, end-systole the smallest.
PHASES: tuple[str, str] = ("ED", "ES")

VENDORS: tuple[str, ...] = ("Siemens", "Philips", "GE", "Canon")

#: g/mL, the value used by CMR reporting software to turn myocardial volume into mass.
MYOCARDIAL_DENSITY = 1.05
