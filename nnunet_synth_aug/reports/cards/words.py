"""The text of a card: what a bank or a generator is, what it is for, and whether it may leave the site."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nnunet_synth_aug.core.bank_sources import REGISTRY
from nnunet_synth_aug.core.priors import VARIABLES
from nnunet_synth_aug.reports.cards.audit import Audit
from nnunet_synth_aug.reports.cards.facts import Facts, Leave, Part, is_usual

#: Variables of the table of hearts, with their names.
_TITLES = {"lv_edv": "LV EDV", "lv_ef": "LV EF", "rv_edv": "RV EDV", "rv_ef": "RV EF", "lv_mass": "LV mass"}
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_TAGS = ["cardiac-mri", "cine-mri", "medical", "synthetic-data", "nnunet"]


def title(facts: Facts) -> str:
    """Of the card."""
    if facts.kind == "generator":
        of = f"{facts.dataset}, fold {facts.fold}" if facts.dataset.startswith("Dataset") else f"taught with {facts.phantoms} phantoms"
        return f"Generator of heart sequences, {of}"
    return f"Synthetic hearts ({'+'.join(part.source for part in facts.parts)}) for {facts.dataset}, fold {facts.fold}"


def metadata(facts: Facts) -> dict[str, Any]:
    """Front matter as Hugging Face reads it, without the licence."""
    if facts.kind == "generator":
        return {"library_name": "nnunet-synth-aug", "tags": [*_TAGS, "latent-diffusion"]}
    n = sum(facts.cases.values())
    return {
        "pretty_name": title(facts),
        "task_categories": ["image-segmentation"],
        "size_categories": [next((text for most, text in _SIZES if n < most), "n>1M")],
        "annotations_creators": ["machine-generated"],
        "tags": [*_TAGS, *(part.source for part in facts.parts if part.source != "generator")],
    }


def body(facts: Facts) -> str:
    """The text that the package writes, as Markdown."""
    parts = [f"# {title(facts)}", *(_generator(facts) if facts.kind == "generator" else _bank(facts))]
    parts += ["## May it leave the site?", *leave_sentences(facts)]
    parts += ["## Memorisation audit", *_audit(facts)]
    parts += ["## Meant for", *intended(facts), "## Limits", _bullets(limits(facts))]
    return "\n\n".join(parts)


def yours(facts: Facts) -> str:
    """What only the site knows; written once, below the text that the package keeps up to date."""
    asked = ["Licence (`license` and `license_name` at the top)"]
    if facts.people or facts.imitates_people:
        asked += ["Whose patients, and their consent", "Ethics approval"]
    return (
        "## Of this site\n\nFill in, here and in the licence's lines at the top of this file. `synthaug card` keeps both.\n\n"
        + _bullets(f"{what}: not stated yet." for what in [*asked, "Whom to ask"])
    )


def _generator(facts: Facts) -> list[str]:
    config = facts.settings
    grid = "x".join(map(str, config.get("grid", {}).get("size", [])))
    rows = [
        ("training patients", str(len(facts.people))),
        ("phantoms among them", str(facts.phantoms)) if facts.people else ("training phantoms", str(facts.phantoms)),
        ("continued from", facts.pretrained_on or "nothing"),
        ("preset", str(config.get("preset", "-"))),
        ("grid (voxels)", grid),
        ("training steps (VAE, static, motion)", ", ".join(_steps(config, stage) for stage in ("vae", "static", "motion"))),
        ("hash", (facts.generator_hash or "")[:12]),
        ("version", facts.version),
    ]
    if not facts.people:
        rows = [row for row in rows if row[0] != "training patients"]
    elif not facts.phantoms:
        rows = [row for row in rows if not row[0].startswith("phantoms")]
    return [
        "Three networks of nnunet-synth-aug that make labelled beating hearts as short-axis "
        "cine MRI shows them: a VAE, a latent diffusion model of the heart at end-diastole, and one of its motion. Volumes, EF, mass, "
        "diagnosis and vendor can be asked for.",
        _table(("", "value"), rows),
        "All settings, the list of those it learnt from and the hash of every weight file are in `generator.json`.",
    ]


def _steps(config: dict[str, Any], stage: str) -> str:
    return str(config.get(stage, {}).get("train", {}).get("steps", "-"))


def _bank(facts: Facts) -> list[str]:
    hearts = sum(part.hearts for part in facts.parts)
    rows = [
        (part.name, str(part.hearts), str(len(part.people) or "-"), str(part.phantoms or "-"), part.leave.value) for part in facts.parts
    ]
    cases = ", ".join(f"{n} of {name}" for name, n in facts.cases.items())
    whose = f"{facts.imitated} patients without contours" if facts.imitated else "other scanners"
    shown = f", each in {facts.looks} looks of {whose}" if facts.looks else ""
    lines = [
        f"{hearts} labelled synthetic heart sequences for training nnU-Net on short-axis cine MRI, and {sum(facts.cases.values())} cases "
        f"that nnU-Net's preprocessor made of them ({cases}; {facts.frames} frames of each{shown}). Labels: RV, MYO, LV.",
        _table(("source", "hearts", "training patients", "phantoms", "may leave the site"), rows),
        _bullets(f"`{part.source}`: {REGISTRY[part.source].about}" for part in facts.parts if part.source in REGISTRY),
    ]
    if any(facts.measured.get(name) for name in _TITLES):
        lines += ["What the hearts measure on their own masks:", _table(("", "hearts", "median", "lowest", "highest"), _measured(facts))]
    if set(facts.asked) - {"not asked for"}:
        lines.append("Diagnoses that were asked for: " + ", ".join(f"{name} {n}" for name, n in sorted(facts.asked.items())) + ".")
    for part in facts.parts:
        quality = part.about.get("quality") or {}
        if quality.get("checked"):
            lines.append(f"Quality control ({part.source}): {quality['accepted']} of {quality['tries']} sampled hearts were kept.")
    where = ", ".join(f"`{part.folder}/priors.csv`" for part in facts.parts)
    return [*lines, f"One row per heart: {where}. Who made the cases, and of whom: `manifest_*.json`."]


def _measured(facts: Facts) -> list[tuple[str, ...]]:
    rows = []
    for name, heading in _TITLES.items():
        if values := facts.measured.get(name):
            figures = (np.median(values), min(values), max(values))
            rows.append((f"{heading} [{VARIABLES[name].unit}]", str(len(values)), *(f"{value:.0f}" for value in figures)))
    return rows


def leave_sentences(facts: Facts) -> list[str]:
    """Whether it may leave the site, and why."""
    told = {
        Leave.NO: "**No.**",
        Leave.AFTER_AUDIT: "**Only after the memorisation audit, and if your ethics board agrees.**",
        Leave.YES: "**Yes.** No patient's data are in it: digital hearts are computed, not scanned.",
    }
    if facts.leave is Leave.YES and facts.named:
        told[Leave.YES] = "**Yes, its hearts may:** they are computed, not scanned."
    lines = [told[facts.leave]]
    if facts.kind == "generator" and facts.people:
        flagged = "The audit flagged it: it makes hearts too near to those of its training patients. " if facts.leave is Leave.NO else ""
        lines.append(
            f"{flagged}It learnt from {len(facts.people)} patients, and a generator of few patients knows them by heart. "
            "`generator.json` names them as the data set does, and holds their volumes and, where known, sex, age, height and weight."
        )
    if facts.kind == "bank":
        lines += [_bullets(map(_why, facts.parts))] if facts.people else []
        if facts.imitates_people:
            lines.append(
                f"Its looks are those of {facts.imitated} patients without contours, painted by a network that learnt from their slices. "
                "No audit tells whether it remembers them."
            )
        if facts.people or facts.named:
            lines.append(
                "`hearts.png` shows training patients, and `manifest_*.json` and every `index.json` name them as the data set does: "
                "**leave these files out of whatever you share.**"
            )
    return lines


def _why(part: Part) -> str:
    n = len(part.people)
    leave = part.leave
    if leave is Leave.YES:
        return f"`{part.source}`: yes, they are computed."
    if part.rendered:
        return f"`{part.source}`: no. Every heart is shown in the pixels of one of {n} patients."
    if part.silent:
        return f"`{part.source}`: no. Their painter learnt from patients without contours, too, and no audit knows it."
    if part.source in ("copies", "bent", "pseudolabels"):
        return f"`{part.source}`: no. They are the pixels of {n} patients, in the same frames or bent."
    if part.source == "variations":
        return f"`{part.source}`: no. Each has the chest of one of {n} patients, and its heart is near theirs."
    if part.source == "reconstructions":
        return f"`{part.source}`: no. They are {n} patients, as a network gives them back."
    if leave is Leave.NO:
        return f"`{part.source}`: no. The audit says that they are too near to the {n} training patients, or that a network knows these."
    return f"`{part.source}`: only after the audit. Their generator{' and their painter' if part.painter else ''} learnt from {n} patients."


def _audit(facts: Facts) -> list[str]:
    if facts.generator_hash is None:
        return ["There is none: no generator made these hearts."]
    if not facts.people:
        return ["None is needed: there is no patient who could be remembered."]
    lines = [line for audit in facts.audits for line in _told(audit)]
    for painter in facts.unaudited:
        of = " of painted hearts" if painter else ""
        lines += [f"**Not made yet{of}.** This makes it and writes it here:", f"```bash\n{_audit_commands(facts, bool(painter))}\n```"]
    return lines or ["None is needed: whatever it said, these hearts would stay."]


def _told(audit: Audit) -> list[str]:
    rows = [
        ("distance to training patients over that to unseen ones (1: no difference)", _interval(audit.ratio)),
        ("AUC of the loss, training against unseen patients (0.5: chance)", _interval(audit.auc)),
        *([("AUC of the painter's loss, likewise", _interval(audit.painter_auc))] if audit.painter_auc else []),
        ("hearts less than half as far from a training patient as from any unseen one", str(audit.near_copies)),
    ]
    return [
        f"**{'Flagged' if audit.flagged else 'Not flagged'}.** {audit.hearts} {'painted ' if audit.painter else ''}hearts, "
        f"{audit.training} training patients, "
        f"{audit.held_out} patients whom the generator never saw. Brackets are 95 % intervals.",
        _table(("", "value"), rows),
        _bullets(audit.verdict),
    ]


def _interval(found: tuple[float, float, float]) -> str:
    value, low, high = found
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _audit_commands(facts: Facts, painted: bool) -> str:
    wanted = f"synthaug report -d {facts.dataset} -f {facts.fold}{' --render painter' * painted} --only memorisation -o REPORT"
    if facts.kind == "bank":
        return f"{wanted}\nsynthaug card BANK --report REPORT"
    return wanted if is_usual(facts) else f"{wanted} --generator GENERATOR"


def intended(facts: Facts) -> list[str]:
    """What it is for."""
    if facts.kind == "generator":
        use = f"to fill banks of synthetic hearts for fold {facts.fold} of {facts.dataset}, and for research on synthesis"
        if facts.fold == "all" and not facts.people:
            use = "to make digital hearts (`synthaug explore`), and to be continued on own patients (`synthaug fit --pretrain phantom`)"
    else:
        use = f"to be mixed into the training of nnU-Net on fold {facts.fold} of {facts.dataset}, with `nnUNetTrainerSynthAug_mixNN`"
    return [f"For research: {use}. Not a medical device, and not for decisions on patients."]


def limits(facts: Facts) -> list[str]:
    """What it cannot do."""
    found = []
    if facts.people:
        found.append(f"It comes from the hearts, scanners and diseases of {len(facts.people)} patients, and represents no others.")
        found.append(f"Never train on it and test on these patients. The validation patients of fold {facts.fold} are not among them.")
        if facts.fold == "all":
            found[-1] = "Never train on it and test on these patients: fold all holds every one."
    sources = {part.source for part in facts.parts}
    if facts.kind == "generator" or "generator" in sources:
        found.append("Masks and images of a network need not agree everywhere. A real-only nnU-Net can check: `--segmenter`.")
    if sources & {"copies", "bent", "variations", "reconstructions"}:
        found.append("Hearts made from the same patient are no independent patients. Do not count them as such.")
    if not facts.people or "phantom" in sources:
        found.append(
            "Digital hearts lack much of what real images show: anatomy beside the heart, artefacts, disease beyond shape and motion."
        )
    if "pseudolabels" in sources:
        found.append("Their contours are another network's, with its errors.")
    return [*found, "Whether it helps must be measured, with `synthaug compare`: a gain in one cohort says nothing of another."]


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
