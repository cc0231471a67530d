"""Reading and writing files so that a bad one gives one clear sentence and none is half-written."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from nnunet_synth_aug.core.errors import UserError
from nnunet_synth_aug.core.geometry import read_grid

#: Levels of lists and mappings in each other.
_DEEPEST = 100
#: How compressed files begin, and the size of a NIfTI-2 header, with which its file begins.
_GZIP, _NIFTI2 = b"\x1f\x8b", 540


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; rename it to ``path`` when the block succeeds.

    The temporary name keeps the ending (writers choose their format by it) and starts with a dot,
    so that folder listings of nnU-Net and of this package never see it.
    """
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _not_written(path: Path, error: OSError) -> UserError:
    """Why ``path`` is not there: something else could not be read meanwhile, or it could not be written."""
    if isinstance(error, PermissionError) and error.filename:
        denied = Path(os.fsdecode(error.filename))
        if path.parent not in denied.parents and denied not in path.parents:
            return UserError(f"{denied} cannot be read; change its permissions")
    return UserError(f"cannot write {path}: {error.strerror or error}; free some space or choose another folder")


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; it becomes ``path`` when the block succeeds.

    ``path`` must not exist yet. On any error the temporary folder is removed.
    """
    if path.exists():
        raise UserError(f"{path} exists already; remove it or choose another name")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".partial-{path.name}-", dir=path.parent))
        yield temporary
        temporary.chmod(0o755)  # mkdtemp makes 0700
        os.replace(temporary, path)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make a folder with all above it, if it is not there.

    Raises:
        UserError: it cannot be made, a file has its name, or nothing can be written into it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the folder {path} cannot be made ({error.strerror or error}); choose another one") from error
    refuse_read_only(path)


def refuse_read_only(folder: Path) -> None:
    """Raise UserError if nothing can be written into a folder, or where it would be made: now, and not after hours of work."""
    try:
        with tempfile.TemporaryFile(dir=next(one for one in (folder, *folder.absolute().parents) if one.exists())):
            pass
    except OSError as error:
        raise UserError(
            f"nothing can be written into {folder} ({error.strerror or error}); choose another folder or change its permissions"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON (NaN as null, which strict readers accept)."""
    write_text(path, json.dumps(_plain(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: there is no such file, or it is not JSON.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except RecursionError:
        content = None
        deep = True
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not readable JSON ({error}); restore or remake it") from error
    else:
        deep = too_deep(content)
    if deep:
        raise UserError(f"{path} is nested too deeply to be read; restore or remake it")
    return content


def too_deep(value: Any) -> bool:
    """Whether lists and mappings lie in each other deeper than any file of ours does, so that whoever walks through them may fail."""
    level = [value]
    for _ in range(_DEEPEST):
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        # By identity: YAML's references may lead to one list very often.
        level = list({id(one): one for several in inner for one in several if isinstance(one, (dict, list))}.values())
    return bool(level)


def read_object(path: Path, *keys: str) -> dict[str, Any]:
    """The content of a JSON file that must hold an object.

    Args:
        path: the file.
        keys: that the object must have.

    Raises:
        UserError: as :func:`read_json`, or it holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError(f"{path} holds a {type(value).__name__} where a JSON object is needed; restore or remake it")
    if lacking := [key for key in keys if key not in value]:
        raise UserError(f"{path} lacks the key {lacking[0]!r}; restore or remake it")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return sorted(_plain(v) for v in value)
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def hash_json(value: Any) -> str:
    """Hex digest of a JSON value, independent of key order."""
    return hashlib.sha256(json.dumps(_plain(value), sort_keys=True).encode()).hexdigest()


def read_nifti(path: Path, ndim: int | None = None) -> tuple[np.ndarray, tuple[float, float, float], np.ndarray]:
    """Read a NIfTI file completely.

    Args:
        path: ``.nii`` or ``.nii.gz``.
        ndim: the number of axes it must have (3 or 4), or None for any.

    Returns:
        array in file order (X, Y, Z[, T]), spacing (x, y, z) in mm, affine (4, 4).

    Raises:
        UserError: missing, truncated, not NIfTI, wrong number of axes, colours, complex or non-finite voxels, a header that contradicts
            itself.
    """
    array, header = load_nifti(path, ndim)
    grid = read_grid(path, header)
    return array, grid.spacing, grid.affine


def load_nifti(path: Path, ndim: int | None = None) -> tuple[np.ndarray, Any]:
    """Array and nibabel header of a NIfTI file; arguments and errors as in :func:`read_nifti`, except for the header's."""
    if path.is_dir():
        raise UserError(f"{path} is a folder where a NIfTI file is needed; move the file in it to its place")
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    try:
        image = _opened(path)
        array = np.asanyarray(image.dataobj)
        with image.file_map["image"].get_prepare_fileobj("rb") as stream:
            raw = type(image.header).from_fileobj(stream, check=False)["pixdim"][1:4]
    except PermissionError as error:
        raise UserError(f"{path} cannot be read; change its permissions") from error
    except Exception as error:  # nibabel, zlib, gzip and OSError all mean the same to a user
        raise UserError(f"{path} is not a complete NIfTI file ({type(error).__name__}); copy it again from its source") from error
    if not (np.isfinite(raw) & (raw != 0)).all():  # nibabel calls them 1 mm
        raise UserError(f"{path} has the spacing {raw.tolist()} mm in its header; every spacing must be positive")
    if array.dtype.kind not in "buif":
        what = "complex numbers" if array.dtype.kind == "c" else "colours (RGB)"
        raise UserError(f"{path} holds {what} where every voxel must be one grey value or label; export it again as plain numbers")
    if ndim is not None and array.ndim != ndim:
        raise UserError(f"{path} has {array.ndim} axes where {ndim} are needed (shape {array.shape})")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{path} holds {int((~np.isfinite(array)).sum())} NaN or infinite voxels; repair or leave out this case")
    return array, image.header


def unpacked(path: Path) -> bytes:
    """A file's content, decompressed if it is compressed, whatever its name says; as it is if it is damaged."""
    content = path.read_bytes()
    if content.startswith(_GZIP):
        with contextlib.suppress(OSError, EOFError, zlib.error):
            return gzip.decompress(content)
    return content


def _opened(path: Path) -> Any:
    """Nibabel's image; the first bytes say whether it is compressed, since some programs name files wrongly."""
    with path.open("rb") as stream:
        packed = stream.read(2) == _GZIP
    if packed == path.name.lower().endswith(".gz"):
        return nib.load(path)
    content = unpacked(path)
    return (nib.Nifti2Image if int.from_bytes(content[:4], sys.byteorder) == _NIFTI2 else nib.Nifti1Image).from_bytes(content)


def nifti_header(path: Path) -> Any:
    """Nibabel's header of a NIfTI file, without its voxels.

    Raises:
        UserError: missing, or not NIfTI.
    """
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    try:
        image = _opened(path)
    except PermissionError as error:
        raise UserError(f"{path} cannot be read; change its permissions") from error
    except Exception as error:
        raise UserError(f"{path} is not a NIfTI file ({type(error).__name__}); copy it again from its source") from error
    return image.header


def nifti_shape(path: Path) -> tuple[int, ...]:
    """Shape of a NIfTI file from its header alone."""
    return tuple(nifti_header(path).get_data_shape())


def write_nifti(
    path: Path, array: np.ndarray, spacing: tuple[float, float, float], frame_seconds: float = 0.0, affine: np.ndarray | None = None
) -> None:
    """Write (X, Y, Z[, T]) with its spacing in mm and, for 4D, the time between frames in seconds."""
    if affine is None:
        affine = np.diag([*spacing, 1.0])
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_zooms(tuple(spacing) + ((frame_seconds,) if array.ndim == 4 else ()))
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
