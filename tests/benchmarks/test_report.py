"""The page that `make bench` writes can be read again, and shows the worst of several runs."""

from tests.benchmarks import report
from tests.benchmarks.bench import RowResult
from tests.benchmarks.rows import ROWS
from tests.benchmarks.rows.base import Sample


def _result(name: str, **values: float) -> RowResult:
    row = next(row for row in ROWS if row.name == name)
    return RowResult(row, {who: [Sample(value=value, done=1)] for who, value in values.items()})


def _page(*results: RowResult) -> str:
    return report.page([results], about={"machine": {"processor": "one"}}, pulls="none")


def test_ratios_of_a_page_are_read_again() -> None:
    page = _page(_result("blob-64m", portolan=3000, v3=1500, nginx=4000), _result("tags-100k", portolan=2e6, v3=1))
    assert report.recorded(page) == {
        ("blob-64m", "distribution v3"): 2.0,
        ("blob-64m", "nginx"): 0.75,
        ("tags-100k", "distribution v3"): 2e6,
    }


def test_every_row_has_a_name_of_its_own_and_goals_about_who_is_measured() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert all(goal.against is None or goal.against in row.who for goal in row.goals), row.name
        assert row.who[0] in {"portolan", "portolan:s3", "portolan:policy"}, row.name


def test_of_several_runs_each_row_is_told_as_it_was_at_its_worst() -> None:
    first = [_result("blob-64k", portolan=60, v3=10), _result("memory-idle", portolan=100, v3=50)]
    second = [_result("blob-64k", portolan=900, v3=200), _result("memory-idle", portolan=90, v3=50)]
    chosen = report.worst([first, second])
    assert [result.median("portolan") for result in chosen] == [900, 100]


def test_of_several_runs_each_ratio_is_told_as_it_was_at_its_worst() -> None:
    first = [_result("blob-64m", portolan=2200, v3=2000, nginx=2000), _result("memory-idle", portolan=90, v3=30)]
    second = [_result("blob-64m", portolan=1800, v3=1500, nginx=2000), _result("memory-idle", portolan=90, v3=45)]
    page = report.page([first, second], about={}, pulls="none")
    assert report.recorded(page) == {
        ("blob-64m", "distribution v3"): 1.1,
        ("blob-64m", "nginx"): 0.9,
        ("memory-idle", "distribution v3"): 3.0,
    }
    assert "| `blob-64m` | MiB/s | 1,800.0 | nginx | 2,000.0 | 0.90 |" in page


def test_of_several_runs_the_most_memory_is_told() -> None:
    page = report.page(
        [[_result("memory-push", portolan=20)], [_result("memory-push", portolan=140)]], about={}, pulls=""
    )
    assert "| `memory-push` | MiB | 140.0 | — | — | — | ≤ 128 MiB | **no** |" in page


def test_a_row_that_was_disturbed_in_any_run_is_named() -> None:
    quiet, busy = _result("blob-64k", portolan=60, v3=10), _result("blob-64k", portolan=60, v3=10)
    busy.samples["v3"] = [Sample(value=10, done=1, other_share=0.2)]
    assert "**Provisional:**" not in report.page([[quiet], [quiet]], about={}, pulls="none")
    assert "during 1 of 1 rows (blob-64k)" in report.page([[quiet], [busy]], about={}, pulls="none")


def test_who_did_not_come_to_answer_leaves_a_ratio_without_bound() -> None:
    assert _result("blob-64k", portolan=60, v3=0).ratio("v3") == float("inf")
    assert _result("blob-64k", portolan=0, v3=0).ratio("v3") == 0


def test_a_ratio_is_that_of_what_was_measured_in_the_same_turn() -> None:
    """The machine got slower, for both alike: the medians say 1.0, what stood side by side 1.5."""
    result = _result("blob-64k", portolan=0, v3=0)
    result.samples["portolan"] = [Sample(value=value) for value in (90, 60, 40, 30, 15)]
    result.samples["v3"] = [Sample(value=value) for value in (60, 40, 40, 20, 10)]
    assert result.ratio("v3") == 1.5


def test_what_people_wrote_on_the_page_stays() -> None:
    results = [_result("blob-64m", portolan=3000, v3=1500, nginx=4000)]
    before = f"what was measured then\n\n{report.FLOOR}\n\nIn the disk.\n"
    page = report.page([results], about={}, pulls="none", before=before)
    assert page.endswith(f"{report.FLOOR}\n\nIn the disk.\n")
    assert "what was measured then" not in page


def test_a_registry_on_an_object_store_is_told_apart() -> None:
    row = next(row for row in ROWS if row.name == "s3-push-256m")
    samples = {"portolan:s3": [Sample(value=30, done=1)], "v3:s3": [Sample(value=20, done=1)]}
    assert report.recorded(_page(RowResult(row, samples))) == {("s3-push-256m", "distribution v3, s3"): 1.5}
