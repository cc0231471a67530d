"""Inputs as people have them: what the import understands, leaves out or refuses, and what it says.

``test_inputs.py`` tries every case; the page ``docs/reference/inputs.md`` is made from the same list.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nifti_files import opened, saved, voxels

from nnunet_synth_aug.core.geometry import Grid, Turn, turned

SHAPE, SPACING = (40, 36, 8), (1.5, 1.25, 8.0)
#: Where the images of these patients lie: turned in the scanner, no two axes alike.
AFFINE = np.array([[1.2, 0.6, 1.28, -40], [-0.9, 0.8, 1.7066667, 25], [0, -0.75, 7.7108077, 10], [0, 0, 0, 1]])
ROTATION, _ = np.linalg.qr(AFFINE[:3, :3])
AFFINE[:3, :3] = ROTATION * SPACING
INFO = "ED: 1\nES: 3\nGroup: NOR\nHeight: 170.5\nNbFrame: 4\nWeight: 70.5\n"
MNMS_HEADER = "External code,Pathology,VendorName,ED,ES,Age,Sex,Height,Weight"


def heart(*, es: bool = False) -> np.ndarray:
    """A mask of 40 mL of LV at ED and half of that at ES, MYO around it, RV beside it."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:11, 5:31, 1:7], mask[11:39, 5:31, 1:7], mask[14:36, 8:28, 1:7] = 1, 2, 3
    if es:
        mask[6:11] = np.where(mask[6:11] == 1, 0, mask[6:11])
        mask[25:36] = np.where(mask[25:36] == 3, 2, mask[25:36])
    return mask


def unlabelled(*names: str, name: str = "unlabelled", frames: bool = False, table: str = "") -> Callable[[Path], object]:
    """Plain volumes that nobody has contoured, or cines with ``frames``."""

    def change(root: Path) -> None:
        (root / name).mkdir()
        for number, one in enumerate(names, 20):
            saved(root / name / f"{one}.nii.gz", cine(number) if frames else cine(number)[..., 0], AFFINE)
        if table:
            (root / name / "patients.csv").write_text(table)

    return change


def cine(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 9, (*SHAPE, 4)).astype(np.int16)


def make_acdc(root: Path) -> None:
    """Three patients in ACDC's layout."""
    for number in (1, 2, 3):
        name = f"patient00{number}"
        folder = root / name
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text(INFO)
        saved(folder / f"{name}_4d.nii.gz", cine(number), AFFINE)
        for frame in (1, 3):
            saved(folder / f"{name}_frame{frame:02d}_gt.nii.gz", heart(es=frame == 3), AFFINE)


def make_mnms(root: Path) -> None:
    """Three patients in the layout of M&Ms, with their table."""
    rows = [MNMS_HEADER]
    for number, name in enumerate(("A1A1A1", "B2B2B2", "C3C3C3")):
        folder = root / "Training" / "Labeled" / name
        folder.mkdir(parents=True)
        saved(folder / f"{name}_sa.nii.gz", cine(number), AFFINE)
        masks = np.zeros((*SHAPE, 4), np.uint8)
        masks[..., 0], masks[..., 2] = (np.choose(heart(es=es), [0, 3, 2, 1]) for es in (False, True))
        saved(folder / f"{name}_sa_gt.nii.gz", masks, AFFINE)
        rows.append(f"{name},HCM,Siemens,0,2,50,F,170.5,70.5")
    (root / "information.csv").write_text("\n".join(rows) + "\n")


def make_mnms2(root: Path) -> None:
    """Three patients in the layout of M&Ms-2, with their table."""
    rows = ["SUBJECT_CODE,DISEASE,VENDOR,FIELD"]
    for number in (1, 2, 3):
        name = f"{number:03d}"
        folder = root / "dataset" / name
        folder.mkdir(parents=True)
        for phase, frame in (("ED", 0), ("ES", 2)):
            saved(folder / f"{name}_SA_{phase}.nii.gz", cine(number)[..., frame], AFFINE)
            contours = np.choose(heart(es=phase == "ES"), [0, 3, 2, 1]).astype(np.uint8)
            saved(folder / f"{name}_SA_{phase}_gt.nii.gz", contours, AFFINE)
        saved(folder / f"{name}_SA_CINE.nii.gz", cine(number), AFFINE)
        rows.append(f"{number},NOR,GE MEDICAL SYSTEMS,1.5")
    (root / "dataset_information.csv").write_text("\n".join(rows) + "\n")


def make_sunnybrook(root: Path) -> None:
    """Two patients of Sunnybrook as NIfTI."""
    root.mkdir(parents=True)
    for number in (1, 2):
        saved(root / f"SCD000010{number}_4d.nii.gz", cine(number), AFFINE)
        for frame, labels in ((1, (2, 3)), (3, (3,))):
            contours = heart(es=frame == 3)
            saved(root / f"SCD000010{number}_frame0{frame}_gt.nii.gz", np.where(np.isin(contours, labels), contours, 0), AFFINE)


@dataclass(frozen=True)
class Case:
    """One input."""

    topic: str
    what: str  # as the page has it
    change: Callable[[Path], object]  # makes it, in a folder that the function of the source has made
    says: str  # part of the sentence; on the page, too
    outcome: str = "understood"  # or "left out" or "refused"
    source: str = "acdc"
    same: bool = True  # whether an understood input gives the very numbers of the unspoilt one


def _patient(name: str) -> Callable[[Path], Path]:
    return lambda root: root / "patient002" / f"patient002_{name}.nii.gz"


CINE, ED, ES = (_patient(name) for name in ("4d", "frame01_gt", "frame03_gt"))
SIZED = np.diag([*SPACING, 1.0])


def again(file: Callable[[Path], Path], **header: object) -> Callable[[Path], object]:
    """The file with another header."""
    return lambda root: saved(file(root), voxels(file(root)), **{"sform": AFFINE, **header})  # type: ignore[arg-type]


def every(**header: object) -> Callable[[Path], object]:
    """All files of the patient with another header."""
    return lambda root: [again(file, **header)(root) for file in (CINE, ED, ES)]


def mask(change: Callable[[np.ndarray], np.ndarray], *files: Callable[[Path], Path]) -> Callable[[Path], object]:
    """The masks changed."""
    return lambda root: [saved(file(root), change(voxels(file(root)).copy()), AFFINE) for file in files]


def in_axes(how: Turn, file: Callable[[Path], Path]) -> Callable[[Path], object]:
    """The file stored in other axes, with the affine that belongs to them."""

    def change(root: Path) -> None:
        stored = Grid(SHAPE, AFFINE, SPACING).moved(*how)
        saved(file(root), turned(voxels(file(root)), how), stored.affine, pixdim=stored.spacing)

    return change


def swapped(one: int, other: int) -> Callable[[np.ndarray], np.ndarray]:
    """Two labels exchanged."""
    return lambda array: np.where(array == one, other, np.where(array == other, one, array)).astype(np.uint8)


def without(label: int) -> Callable[[np.ndarray], np.ndarray]:
    """A label removed."""
    return lambda array: np.where(array == label, 0, array).astype(np.uint8)


def torn(array: np.ndarray) -> np.ndarray:
    """Most of the muscle removed."""
    return np.where((array == 2) & (np.indices(array.shape)[0] > 14), 0, array).astype(np.uint8)


def text(change: Callable[[str], str], name: str = "patient002/Info.cfg", encoding: str = "utf-8") -> Callable[[Path], object]:
    """A text file changed."""
    return lambda root: (root / name).write_bytes(change((root / name).read_text()).encode(encoding))


def table(change: Callable[[str], str], encoding: str = "utf-8") -> Callable[[Path], object]:
    return text(change, "information.csv", encoding)


def sheared(size: float) -> np.ndarray:
    affine = AFFINE.copy()
    affine[:3, 0] = SPACING[0] * (np.sqrt(1 - size**2) * ROTATION[:, 0] + size * ROTATION[:, 1])
    return affine


def into_folder(root: Path, name: str = "patient002_4d.nii") -> None:
    path = CINE(root)
    path.rename(path.with_name("moved"))
    path.mkdir()
    path.with_name("moved").rename(path / f"{name}.gz")


def two_in_folder(root: Path) -> None:
    into_folder(root)
    shutil.copy(CINE(root) / "patient002_4d.nii.gz", CINE(root) / "other.nii.gz")


def scaled_labels(root: Path) -> None:
    image = nib.Nifti1Image(voxels(ED(root)) * 85, AFFINE)
    image.header.set_slope_inter(0.0117647, 0)
    image.to_filename(ED(root))
    assert not np.array_equal(voxels(ED(root)), np.round(voxels(ED(root))))


def colours(root: Path) -> None:
    grey = voxels(CINE(root)).astype(np.uint8)
    saved(CINE(root), np.stack([grey] * 3, -1).view(np.dtype([(name, "u1") for name in "RGB"]))[..., 0], AFFINE)


def another_cine(array: np.ndarray) -> Callable[[Path], object]:
    """The second patient's cine replaced."""
    return lambda root: saved(root / "patient002" / "patient002_4d.nii.gz", array, AFFINE)


def two_tables(root: Path) -> None:
    information = root / "information.csv"
    (root / "copy.csv").write_text(information.read_text().replace("Siemens", "Philips"))


def testing(root: Path) -> None:
    for place, name in (("training", "patient001"), ("training", "patient002"), ("testing", "patient003")):
        (root / place).mkdir(exist_ok=True)
        (root / name).rename(root / place / name)


def renamed(*names: str) -> Callable[[Path], object]:
    return lambda root: [(root / f"patient{name}").rename(root / f"patient_{name}") for name in names]


def twins(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], object]:
    """The ED mask a second time, uncompressed and changed."""
    return lambda root: opened(saved(ED(root).with_suffix(""), change(voxels(ED(root))), AFFINE))


def plain_but_named_gz(root: Path) -> None:
    twins(lambda array: array)(root)
    ED(root).with_suffix("").rename(ED(root))


def packed_but_not_named_gz(root: Path) -> None:
    ED(root).rename(ED(root).with_suffix(""))


def frames_beside(root: Path) -> None:
    """The ED and ES frames, and an Info.cfg that says 30 frames."""
    more_frames(root)
    for frame in (1, 3):
        saved(root / "patient002" / f"patient002_frame0{frame}.nii.gz", voxels(CINE(root))[..., frame - 1], AFFINE)


more_frames = text(lambda content: content.replace("NbFrame: 4", "NbFrame: 30"))


def moved_to(place: str) -> Callable[[Path], object]:
    """The second patient of M&Ms in another folder of the download."""

    def change(root: Path) -> None:
        (root / place).mkdir()
        (root / "Training" / "Labeled" / "B2B2B2").rename(root / place / "B2B2B2")

    return change


def mnms2_number(root: Path) -> None:
    """The third patient of M&Ms-2 under the number of a test patient."""
    for path in (root / "dataset" / "003").iterdir():
        path.rename(path.with_name(path.name.replace("003", "203")))
    (root / "dataset" / "003").rename(root / "dataset" / "203")
    text(lambda content: content.replace("\n3,", "\n203,"), "dataset_information.csv")(root)


def mnms2_copied(one: str, onto: str) -> Callable[[Path], object]:
    return lambda root: shutil.copy(root / "dataset" / f"{one}.nii.gz", root / "dataset" / f"{onto}.nii.gz")


def scd(change: Callable[[np.ndarray], np.ndarray], *frames: int) -> Callable[[Path], object]:
    """Masks of the second patient of Sunnybrook changed."""
    files = [f"SCD0000102_frame0{frame}_gt.nii.gz" for frame in frames]
    return lambda root: [saved(root / name, change(voxels(root / name).copy()), AFFINE) for name in files]


def scd_twice(root: Path) -> None:
    saved(root / "SCD0000102_frame3_gt.nii.gz", voxels(root / "SCD0000102_frame03_gt.nii.gz"), AFFINE)


def german(content: str) -> str:
    """As Excel in German writes it."""
    return content.replace(",", ";").replace("70.5", "70,5").replace("\n", ";sch\xf6n\n")


GEOMETRY = [
    Case("Places", "a mask stored in other axes than its image, each with its own right header",
         in_axes(((1, 0, 2), (True, False, True)), ED),
         "the mask is stored in other axes than the image; it was turned as its header says"),
    Case("Places", "a mask without a place (`qform_code` and `sform_code` 0) beside an image with one",
         again(ED, sform=None), "image and mask do not both say where they lie; they were laid on each other voxel by voxel"),
    Case("Places", "a mask that lies elsewhere than its image, by more than other axes", again(ED, sform=SIZED),
         "lies elsewhere than its image: its corners are up to", "refused"),
    Case("Places", "slices along the first axis (z, y, x) with the sizes in that order",
         lambda root: [in_axes(((2, 1, 0), (False, False, False)), file)(root) for file in (ED, ES)]
         + [saved(CINE(root), voxels(CINE(root)).transpose(2, 1, 0, 3), AFFINE[:, [2, 1, 0, 3]], pixdim=SPACING[::-1])],
         "the slices lie along another axis than the last; the axes were exchanged"),
    Case("Places", "axes z, y, x with the sizes of x, y, z",
         lambda root: saved(CINE(root), voxels(CINE(root)).transpose(2, 1, 0, 3), AFFINE), "has 40 slices of 8 x 36 pixels", "refused"),
    Case("Places", "axes that are off a right angle by less than half a voxel in the corners", every(sform=sheared(0.01)),
         "axes that were not quite at right angles were put right"),
    Case("Places", "axes that are off by more", every(sform=sheared(0.2)), "the axes are not at right angles", "refused"),
    Case("Sizes", "`sform` with directions alone and sizes in `pixdim` (ACDC's download)",
         every(sform=np.diag([-1, -1, 1, 1]), qform=np.diag([-1.5, -1.25, 8, 1])),
         "sform says 1 x 1 x 1 mm; the sizes in pixdim were taken"),
    Case("Sizes", "`pixdim` 1 x 1 x 1 beside an `sform` with sizes", every(pixdim=(1, 1, 1)),
         "pixdim says 1 x 1 x 1 mm; the sizes in sform were taken"),
    Case("Sizes", "sizes in metres or microns, with that unit in the header",
         every(sform=np.diag([0.001, 0.001, 0.001, 1]) @ AFFINE, pixdim=(0.0015, 0.00125, 0.008), units=("meter", "sec")),
         "sizes in the header are in meters and were turned into mm"),
    Case("Sizes", "`pixdim` and `sform` with two different sizes", again(CINE, pixdim=(1.5, 1.5, 8)),
         "says 1.5 x 1.5 x 8 mm in pixdim but 1.5 x 1.25 x 8 mm in sform; correct the one that is wrong", "refused"),
    Case("Sizes", "1 x 1 x 1 mm everywhere (an identity affine)", every(sform=np.eye(4), pixdim=(1, 1, 1)),
         "says that its voxels are 1 x 1 x 1 mm, so their size was lost; write it into the header", "refused"),
    Case("Sizes", "a slice distance of 1 mm, or pixels of centimetres", every(sform=np.diag([1.5, 1.25, 1, 1]), pixdim=(1.5, 1.25, 1)),
         "says that its voxels are 1.5 x 1.25 x 1 mm, which no short-axis stack has", "refused"),
    Case("Time", "milliseconds between frames in a header that says seconds", again(CINE, step=30.0),
         "30 sec between frames in the header; taken as msec", same=False),
    Case("Time", "a step that no cine has, such as 1 s", again(CINE, step=1.0),
         "1 sec between frames in the header, which no cine has; the time between frames counts as unknown", same=False),
]  # fmt: skip
FILES = [
    Case("Voxels", "labels stored with a scale (0.9999999 for 1)", scaled_labels, ""),
    Case("Voxels", "a label that is none of the data set's", mask(lambda array: np.where(array == 3, 4, array).astype(np.uint8), ED),
         "holds the label 4 where only 0, 1, 2, 3 are known", "refused"),
    Case("Voxels", "colours (RGB)", colours, "holds colours (RGB) where every voxel must be one grey value or label", "refused"),
    Case("Voxels", "complex numbers", lambda root: saved(CINE(root), voxels(CINE(root)).astype(np.complex64), AFFINE),
         "holds complex numbers where every voxel must be one grey value or label", "refused"),
    Case("Voxels", "a file in a folder of its own name, as some programs unzip", into_folder, ""),
    Case("Voxels", "`x.nii` beside `x.nii.gz`, equal but for compression", twins(lambda array: array), ""),
    Case("Voxels", "`x.nii` beside `x.nii.gz` with other voxels", twins(np.zeros_like),
         "are two images of one name and differ; remove the one that is wrong", "refused"),
    Case("Voxels", "two masks of one frame under two names (`frame3`, `frame03`)", scd_twice,
         "are masks of one frame; remove the one that is wrong", "refused", "sunnybrook"),
    Case("Voxels", "a `.nii.gz` that is not compressed", plain_but_named_gz, ""),
    Case("Voxels", "a `.nii` that is compressed", packed_but_not_named_gz, ""),
    Case("Voxels", "one image as ED and as ES", mnms2_copied("002/002_SA_ED", "002/002_SA_ES"),
         "hold the same image as ED and ES; copy the right files", "refused", "mnms2"),
    Case("Voxels", "a cine of another patient beside ED and ES (M&Ms-2)", mnms2_copied("003/003_SA_CINE", "002/002_SA_CINE"),
         "has no frame that is the ED image; remove that file to import the ED and ES frames of this patient alone", "refused", "mnms2"),
    Case("Voxels", "a folder of that name with several files", two_in_folder, "is a folder with 2 NIfTI files where a file is needed",
         "refused"),
    Case("Hearts", "LV and RV exchanged (MYO surrounds what is called RV)", mask(swapped(1, 3), ED, ES), "LV and RV are exchanged in",
         "refused"),
    Case("Hearts", "LV and MYO exchanged", mask(swapped(2, 3), ED), "LV and MYO are exchanged in", "refused"),
    Case("Hearts", "LV and MYO exchanged in Sunnybrook, of whose MYO only the mass is kept", scd(swapped(2, 3), 1, 3),
         "LV and MYO are exchanged in", "refused", "sunnybrook"),
    Case("Hearts", "the same in its ES mask alone", scd(swapped(2, 3), 3),
         "has MYO (2) but no LV (3), so the labels may be exchanged; correct the labels in the file", "refused", "sunnybrook"),
    Case("Hearts", "ED and ES exchanged (EF below 0)", lambda root: [ED(root).rename(root / "one"), ES(root).rename(ED(root)),
         (root / "one").rename(ES(root))], "the LV is larger at ES (39.6 mL) than at ED (19.8 mL); exchange ED and ES in", "refused"),
    Case("Hearts", "the same in a table (M&Ms)", table(lambda content: content.replace(",0,2,", ",2,0,")),
         "the LV is larger at ES (39.6 mL) than at ED (19.8 mL); exchange ED and ES in", "refused", "mnms"),
    Case("Hearts", "a table that names other frames than those with contours (M&Ms)",
         table(lambda content: content.replace(",0,2,", ",1,3,")),
         "contours are in other frames than the table says; ED and ES are those with contours", source="mnms"),
    Case("Hearts", "an empty mask", mask(np.zeros_like, ES), "the ES mask is empty; this mask is left out", "left out"),
    Case("Hearts", "a structure missing in one phase", mask(without(1), ES), "the ES mask has no RV; this mask is left out", "left out"),
    Case("Hearts", "MYO that does not surround the LV", mask(torn, ED),
         "in the ED mask MYO does not surround the LV; this mask is left out", "left out"),
    Case("Patients", "one heart under two numbers", another_cine(cine(1)),
         "patient002 has the same images as patient001: one heart may train and validate; remove one of the two", same=False),
    Case("Files", "a mask, or nothing, where the image should be", another_cine(cine(2) % 3), "holds the values 0, 1, 2 alone", "refused"),
    Case("Files", "grey values that no scanner writes", another_cine(cine(2) * 1e300), "which no scanner writes; export it again",
         "refused"),
    Case("Patients", "ACDC's `database/` with `training/` and `testing/`", testing,
         "patient003: kept for testing, as in testing/: in imagesTs and labelsTs, and in no fold", same=False),
    Case("Patients", "`Testing/` of M&Ms", moved_to("Testing"),
         "B2B2B2: kept for testing, as in Testing/: in imagesTs and labelsTs, and in no fold", source="mnms", same=False),
    Case("Patients", "`Validation/` of M&Ms", moved_to("Validation"),
         "B2B2B2: in the folds, as nnU-Net validates on these, though in Validation/; move this folder away to leave it out",
         source="mnms"),
    Case("Patients", "the numbers 201 to 360 of M&Ms-2", mnms2_number,
         "203: kept for testing, as in the challenge (from 201 on): in imagesTs and labelsTs, and in no fold", source="mnms2", same=False),
    Case("Patients", "a folder beside the patients, such as `patient_003`", renamed("003"),
         "passed over, as no patient was found there: patient_003", same=False),
    Case("Patients", "no folder with the data set's names", renamed("001", "002", "003"),
         "its folders are patient_001, patient_002, patient_003: rename them to patient001 and so on", "refused"),
]  # fmt: skip
TEXTS = [
    Case("`Info.cfg`", "a byte order mark, UTF-16, keys in lower case, `=` for `:`",
         text(lambda content: content.lower().replace(":", " ="), encoding="utf-16"), ""),
    Case("`Info.cfg`", "decimal commas", text(lambda content: content.replace(".", ",")), ""),
    Case("`Info.cfg`", "a key that is missing", text(lambda content: content.replace("ED: 1\n", "")), "has no ED; add the line", "refused"),
    Case("`Info.cfg`", "a key with two values", text(lambda content: content + "ES: 4\n"), "gives ES as '3' and as '4'; remove one",
         "refused"),
    Case("`Info.cfg`", "`NbFrame` of another cine", more_frames,
         "says NbFrame 30, but patient002_4d.nii.gz has 4 frames, so it may be another cine; copy the right one, or correct Info.cfg",
         "refused"),
    Case("`Info.cfg`", "the same, but the ED and ES files are frames of the cine", frames_beside,
         "the cine has another number of frames than Info.cfg says; its ED and ES are those of the files beside it"),
    Case("Tables", "semicolons or tabs between the cells, Excel's `sep=` line",
         table(lambda content: "sep=;\n" + content.replace(",", ";")), "", source="mnms"),
    Case("Tables", "UTF-16 with tabs (Excel's Unicode text)", table(lambda content: content.replace(",", "\t"), "utf-16"), "",
         source="mnms"),
    Case("Tables", "Windows' Latin letters, decimal commas (Excel in German)", table(german, "cp1252"), "", source="mnms"),
    Case("Tables", "headers in other case, with spaces or _", table(lambda content: content.replace(MNMS_HEADER,
         "external_code, PATHOLOGY,vendor name,ed,es,AGE,sex,height,weight")), "", source="mnms"),
    Case("Tables", "commas between the cells and in the numbers", table(lambda content: content.replace("170.5", "170,5")),
         "row 2 has 10 cells for 9 columns; correct it, and if numbers have decimal commas save it with semicolons", "refused", "mnms"),
    Case("Tables", "a column that is missing", table(lambda content: content.replace("VendorName", "Scanner")), "lacks VendorName",
         "refused", "mnms"),
    Case("Tables", "a header and no rows", table(lambda content: content.splitlines()[0]), "information.csv has no rows", "refused",
         "mnms"),
    Case("Tables", "two tables of the same columns that differ", two_tables,
         "have equally many columns and other contents; remove the one that is not meant", "refused", "mnms"),
    Case("Tables", "a workbook that is called CSV", table(lambda content: "PK\x03\x04" + content),
         "is a workbook of a spreadsheet program; save it as CSV", "refused", "mnms"),
]  # fmt: skip
UNLABELLED = [
    Case("Patients without contours", "plain files `NAME_ED.nii.gz` and `NAME_ES.nii.gz`, also with `_0000`, in `unlabelled/`",
         unlabelled("B1_ED", "B1_ES", "B2_ED_0000", "B2_ES_0000"),
         "B1, B2: without contours: the generator learns from it, and nnU-Net does not", same=False),
    Case("Patients without contours", "one volume of a patient, in `Unlabeled/`", unlabelled("B1_ES", name="Unlabeled"),
         "B1: without contours: the generator learns from it, and nnU-Net does not", source="mnms2", same=False),
    Case("Patients without contours", "masks beside them, in files that end in `_gt`",
         lambda root: (unlabelled("B1_ED")(root), saved(root / "unlabelled/B1_ED_gt.nii.gz", heart(), AFFINE)),
         "B1: without contours: the generator learns from it, and nnU-Net does not", same=False),
    Case("Patients without contours", "a cine as a plain file", unlabelled("B1", frames=True),
         "B1: nobody says which frames are ED and ES: the first is taken as ED, and ES at 40% of the cine", source="mnms", same=False),
    Case("Patients without contours", "a `patients.csv` beside them with their vendors, in which one is missing",
         unlabelled("B1", "B2", table="patient,vendor\nB1,Philips Medical Systems\n"),
         "B2: not in patients.csv, so the vendor is not known", same=False),
    Case("Patients without contours", "a vendor there that nobody knows", unlabelled("B1", table="patient,vendor\nB1,Acme\n"),
         "the vendor 'Acme' is unknown; leave the cell empty, or give the maker's name", "refused"),
    Case("Patients without contours", "two volumes of which nothing says which is ED", unlabelled("B1_frame01", "B1_frame12"),
         "of B1; name two volumes B1_ED and B1_ES, or leave only one", "refused"),
    Case("Patients without contours", "ED and ES that are the same image",
         lambda root: (unlabelled("B1_ED")(root), shutil.copy(root / "unlabelled/B1_ED.nii.gz", root / "unlabelled/B1_ES.nii.gz")),
         "B1_ES.nii.gz hold the same image as ED and ES; copy the right files", "refused"),
    Case("Patients without contours", "a mask in the place of an image",
         lambda root: (unlabelled("B1_ED")(root), saved(root / "unlabelled/B1_ES.nii.gz", heart(), AFFINE)),
         "so it is a mask or empty; put the image there", "refused"),
]  # fmt: skip
CASES = [*GEOMETRY, *FILES, *TEXTS, *UNLABELLED]
