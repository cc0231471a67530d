"""One HTML page with the whole comparison: conclusion, tables, figures, failures, provenance, definitions."""

from __future__ import annotations

from evaluation import html
from evaluation import report_figures as pictures
from evaluation import report_tables as tables
from evaluation.results import Results
from evaluation.table import METRICS
from evaluation.wording import METHODS, POLICIES


def render(results: Results) -> str:
    """The page as HTML: self-contained, no script, nothing fetched."""
    first, second = results.names
    title = f"{second[:1].upper()}{second[1:]} against {first} on {results.dataset.name}"
    patients, cases = results.table["patient"].nunique(), len(results.arms[0].predictions)
    meta = (
        f"{patients} patients, {cases} predictions per arm, structures {', '.join(results.labels)}. Differences are {second} minus {first}."
    )
    versions = ", ".join(f"{name} {number}" for name, number in results.versions.items())
    definitions = [*((name, metric.definition) for name, metric in METRICS.items()), *POLICIES.items()]
    body = [
        f"<header><h1>{html.escape(title)}</h1>{html.paragraph(meta, 'meta')}</header>",
        html.block([s for s in results.conclusion if s in results.notes], "warning"),
        html.block([s for s in results.conclusion if s not in results.notes], "conclusion"),
        html.section("Headline", tables.headline(results)),
        html.section("Paired differences", tables.differences(results), pictures.forests(results), tables.arms_described(results)),
        html.section("Patients", *pictures.paired_plots(results)),
        html.section("Examples", *pictures.examples(results)),
        html.section("Failures", tables.failures(results), tables.without_failures(results)),
        html.section("End-diastole and end-systole", tables.phases(results)),
        html.section("Groups of patients", *(tables.group(table, what) for what, table in results.groups.items())),
        html.section("Clinical volumes", tables.clinical(results), pictures.bland_altman(results)),
        html.section("Synthetic data", tables.synthetic(results)),
        html.section("Arms", tables.arms(results)),
        html.section("Definitions", html.definitions(definitions)),
        html.section("Methods", html.paragraph(METHODS)),
        html.section("Versions", html.paragraph(f"{versions}. Distances by the engine {results.engine}.", "meta")),
    ]
    return html.page(title, "\n".join(part for part in body if part))
