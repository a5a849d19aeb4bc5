"""Pasting a run's tables into README.md, between two marks."""

from pathlib import Path

from harness.errors import BenchError

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN = "<!-- results -->"
END = "<!-- end of results -->"


def update(markdown: str, path: Path = README) -> None:
    """Replace what stands between the marks.

    Raises:
        BenchError: a mark is missing.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchError(f"{path.name} must have the lines {BEGIN} and {END}, in this order")
    path.write_text(f"{before}{BEGIN}\n\n{markdown.strip()}\n\n{END}{after}", encoding="utf-8")
