"""The report as Markdown."""

from harness.report import Report
from harness.tables import Table, comparison, details, peers, targets


def table_text(table: Table) -> str:
    """Return a table as Markdown."""
    heads = "| " + " | ".join(table.heads) + " |"
    rule = "|---" * len(table.heads) + "|"
    lines = ["| " + " | ".join(line) + " |" for line in table.lines]
    return "\n".join([f"**{table.title}**", "", heads, rule, *lines])


def circumstances(report: Report) -> str:
    """Return where, when, with what and how the run was made, as a list."""
    place, settings = report.environment, report.settings
    loops = [f"{name} {found.version}" for name, found in report.contenders.items() if found.version not in (None, "C")]
    served = [f"{name} {version}" for name, version in report.packages.items() if version is not None]
    return "\n".join(
        [
            f"- {place['date'][:10]}, {place['kernel']}, {place['cpu']}, {place['cpus']} CPUs, "
            f"{place['memory_gib']} GiB, load average before the run {place['load_average_before']}",
            f"- {place['python']}, {place['libc']}, {place['compiler']}, TCP congestion control "
            f"{place['congestion_control']}",
            f"- {', '.join(loops + served)}",
            f"- repeats: {settings['repeats']}, windows of {settings['seconds']:g} s after {settings['warmup']:g} s of "
            f"warm-up, server on CPU {settings['server_cpu']}, load on CPU {settings['load_cpu']}, "
            f"seed {settings['seed']}",
            f"- `{report.command_line}`",
        ]
    )


def markdown(report: Report) -> str:
    """Return the report as Markdown."""
    tables = [comparison(report), targets(report), peers(report), details(report)]
    parts = [circumstances(report), *(table_text(table) for table in tables if table.lines)]
    if notes := report.notes():
        parts.append("Notes:\n\n" + "\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts) + "\n"
