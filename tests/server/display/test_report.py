"""report.html in a real browser: it shows what the run folder says, offline, and runs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from server.display.page import html
from server.display.page.html import page_of
from server.rounds.comparison import Comparison, OwnerGains
from server.rounds.records import Round
from server.runs.comparison_file import save_comparison
from server.runs.report import REPORT, make_report, make_side_by_side, run_data
from server.runs.scores_file import SCORES, read_scores
from shared.errors import StorageError
from shared.model.comparison import FIGURES, Gain
from shared.model.metrics import metrics_from
from shared.model.recipe import Recipe
from shared.page.html import as_json
from tests.helpers.browser import Watched, browser, keep_screenshot
from tests.helpers.run_folders import OWNERS, made_round, made_run, scores

pytestmark = pytest.mark.timeout(120)
HOSTILE = (
    "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
    "<!--<script>\u2028'\"`${alert(1)}&lt;b&gt;"
)


@pytest.fixture(scope="module")
def launched() -> Iterator[Any]:
    with browser() as found:
        yield found


def carol_is_late(record: Round) -> Round:
    """Carol is left out of rounds 3 to 5."""
    if not 3 <= record.number <= 5:
        return record
    nodes = tuple(one for one in record.nodes if one.node != "carol")
    return replace(record, nodes=nodes, left_out={"carol": "node carol was late"})


def compared(owners: tuple[str, ...] = OWNERS) -> Comparison:
    gains = {
        name: OwnerGains(
            200,
            dict.fromkeys(
                FIGURES, Gain(0.75, 0.9 - 0.2 * place, 0.14 - 0.2 * place, 0.16 - 0.2 * place)
            ),
        )
        for place, name in enumerate(owners)
    }
    return Comparison(15, gains, None, {"dora": "the owner's policy does not allow this"})


def test_every_run_leaves_one_that_says_what_the_folder_says(
    launched: Any, tmp_path: Path, recipe: Recipe
) -> None:
    run = made_run(tmp_path, recipe, 15, change=carol_is_late)
    save_comparison(run, compared())
    assert (run / REPORT).is_file()
    watched = Watched(launched)
    page = watched.open(make_report(run))
    assert page.title() == f"fedsms: {run.name}"
    text = page.inner_text("main")
    last = made_round(15, 15)
    for words in (
        "completed",
        "15 of 15 rounds",
        "3 owners",
        f"{100 * (last.metrics.roc_auc or 0):.2f}",
        "AUC: 1 of 3 owners surely better off together, 2 surely better off alone",
        "dora is not in it: the owner's policy does not allow this",
        "node carol was late",
        "3 to 5",
    ):
        assert words in text, words
    carol = page.inner_text("#owners tr:has(th:text-is('carol'))").split()
    assert carol[7:9] == ["12", "3"]
    assert page.locator(".bk-Figure").count() == 5
    assert watched.said == []
    assert watched.asked == [page.url]  # it is all in the one file
    page.set_viewport_size({"width": 1100, "height": 1150})
    keep_screenshot(page, "report.png")


def test_the_threshold_moves_by_keyboard_and_counts_as_the_metrics_do(
    launched: Any, tmp_path: Path, recipe: Recipe
) -> None:
    run = made_run(tmp_path, recipe, 15)
    page = Watched(launched).open(run / REPORT)
    expected = made_round(15, 15).metrics

    def cells() -> list[int]:
        names = ("tn", "fp", "fn", "tp")
        return [int(page.inner_text(f"#cell-{one}").replace(",", "")) for one in names]

    assert cells() == [
        expected.true_negatives,
        expected.false_positives,
        expected.false_negatives,
        expected.true_positives,
    ]
    assert page.inner_text("#threshold-value") == "0.500"
    assert f"F1 {100 * (expected.f1 or 0):.2f} %" in page.inner_text("#threshold-figures")
    page.focus("#threshold-slider")
    page.keyboard.press("End")
    found = made_round(15, 15).scores
    assert found is not None
    assert cells()[0] + cells()[1] == found.ham.sum()
    assert cells()[1] + cells()[3] == 0
    page.keyboard.press("Home")
    assert cells() == [0, found.ham.sum(), 0, found.spam.sum()]


def test_what_peers_say_is_text_and_never_runs(
    launched: Any, tmp_path: Path, recipe: Recipe
) -> None:
    def spoken(record: Round) -> Round:
        return replace(record, left_out={"anne": HOSTILE})

    run = made_run(
        tmp_path, recipe, 2, ("bob", "carol"), status="failed", change=spoken, recipe_name=HOSTILE
    )
    settings = json.loads((run / "settings.json").read_text())
    settings["nodes"]["anne"] = {"url": "ws://h:1", "versions": {HOSTILE: HOSTILE}}
    (run / "settings.json").write_text(json.dumps({**settings, HOSTILE: HOSTILE}))
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(
        json.dumps({**summary, "error": HOSTILE, "status": HOSTILE, "privacy": {HOSTILE: HOSTILE}})
    )
    save_comparison(run, replace(compared(), left_out={HOSTILE: HOSTILE}))
    watched = Watched(launched)
    page = watched.open(make_report(run))
    assert page.title() == f"fedsms: {run.name}"
    for details in page.locator("details").all():
        details.evaluate("one => one.open = true")
    text = page.inner_text("main")
    assert text.count(HOSTILE.split("\u2028")[0]) >= 7
    assert page.locator("main img, main script, main iframe").count() == 0
    assert watched.said == []
    assert watched.asked == [page.url]


def test_the_policy_of_the_page_stops_what_is_not_ours(
    launched: Any, tmp_path: Path, recipe: Recipe
) -> None:
    """Even with a hole in our own code nothing of a stranger's would run, or call home."""
    watched = Watched(launched)
    page = watched.open(made_run(tmp_path, recipe, 1) / REPORT)
    page.evaluate(
        """() => {
          const hole = document.createElement("div");
          document.body.append(hole);
          hole.innerHTML = "<img src=x onerror=\\"document.title='owned'\\">";
          const script = document.createElement("script");
          script.textContent = "document.title = 'owned'";
          document.body.append(script);
          fetch("http://127.0.0.1:9/").catch(() => { document.body.dataset.refused = "yes"; });
        }"""
    )
    page.wait_for_selector("body[data-refused]")
    assert page.title() != "owned"
    refused = [one for one in watched.said if "Content Security Policy" in one]
    assert len(refused) >= 3


@pytest.mark.parametrize(("width", "scheme"), [(400, "light"), (1100, "dark")])
def test_it_fits_a_narrow_window_and_the_dark(
    launched: Any, tmp_path: Path, recipe: Recipe, width: int, scheme: str
) -> None:
    run = made_run(tmp_path, recipe, 15, change=carol_is_late)
    save_comparison(run, compared())
    watched = Watched(launched, width, scheme)
    page = watched.open(make_report(run))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") is (scheme == "light")
    assert watched.said == []


def test_a_thousand_rounds_and_a_hundred_nodes_are_shown_whole(
    launched: Any, tmp_path: Path, recipe: Recipe
) -> None:
    names = [f"owner-{number:03d}" for number in range(100)]
    first = made_round(1, 1000, names)
    run = made_run(
        tmp_path, recipe, 1000, names, change=lambda one: replace(first, number=one.number)
    )
    assert (run / REPORT).stat().st_size < 10e6
    watched = Watched(launched)
    page = watched.open(run / REPORT)
    assert page.locator("#owners tbody tr").count() == 100
    assert "1,000 of 1,000 rounds" in page.inner_text("header")
    assert "The first 16 of 100 owners are drawn" in page.inner_text("#owners")
    assert watched.said == []


def test_two_runs_stand_beside_each_other(launched: Any, tmp_path: Path, recipe: Recipe) -> None:
    one, other = made_run(tmp_path, recipe, 5), made_run(tmp_path, recipe, 15, seed=2)
    watched = Watched(launched)
    page = watched.open(make_side_by_side([one, other], tmp_path / "both.html"))
    text = page.inner_text("main")
    assert one.name in text
    assert other.name in text
    rows = page.inner_text("#what-was-set-otherwise").splitlines()
    assert any(row.split() == ["seed", "1", "2"] for row in rows)
    assert any(row.split() == ["recipe.federation.rounds", "5", "15"] for row in rows)
    assert not any(row.startswith("run\t") for row in rows)
    assert page.locator(".bk-Figure").count() == 2
    assert watched.said == []


def test_without_bokeh_the_page_says_how_to_get_charts(
    launched: Any, tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "chart_scripts", lambda: ())
    run = made_run(tmp_path, recipe, 3)
    assert (run / REPORT).stat().st_size < 100_000
    watched = Watched(launched)
    page = watched.open(run / REPORT)
    assert "pip install --no-deps -r requirements-report.txt" in page.inner_text("#curves")
    assert page.inner_text("#owners tr:has(th:text-is('anne'))")
    assert watched.said == []


def test_a_run_without_a_round_or_of_secure_sums_has_a_page_too(
    launched: Any, tmp_path: Path, recipe: Recipe
) -> None:
    def summed(record: Round) -> Round:
        nodes = [replace(one, rows=None, loss=None, metrics=None) for one in record.nodes]
        return replace(record, nodes=tuple(nodes), summed_rows=330)

    secure = made_run(tmp_path, recipe, 3, change=summed, secure_sums=True)
    watched = Watched(launched)
    page = watched.open(secure / REPORT)
    assert "sums over the owners alone" in page.inner_text("#privacy")
    assert page.inner_text("#cell-tn") == str(made_round(3, 3).metrics.true_negatives)
    empty = made_run(tmp_path, recipe, 1, status="interrupted")
    for name in ("metrics.jsonl", "model.safetensors", "summary.json"):
        (empty / name).unlink()
    page = watched.open(make_report(empty))
    assert "0 of 1 rounds" in page.inner_text("header")
    assert watched.said == []


def test_a_damaged_folder_has_no_page_and_one_reason(tmp_path: Path, recipe: Recipe) -> None:
    run = made_run(tmp_path, recipe, 2)
    (run / SCORES).write_text('{"round": 2, "ham": {"9999999": 1}, "spam": {}}')
    assert read_scores(run, 2) is None
    assert run_data(run)["scores"] is None
    (run / "metrics.jsonl").write_text("{]\n")
    with pytest.raises(StorageError, match="damaged"):
        make_report(run)
    with pytest.raises(StorageError, match="there is no run"):
        make_report(tmp_path)


def test_scores_are_of_the_newest_round_or_of_none(tmp_path: Path, recipe: Recipe) -> None:
    run = made_run(tmp_path, recipe, 4)
    kept = read_scores(run, 4)
    assert kept is not None
    whole = made_round(4, 4).scores
    assert whole is not None
    for name, counts in (("ham", whole.ham), ("spam", whole.spam)):
        assert kept[name] == {place: int(n) for place, n in enumerate(counts) if n}
    assert read_scores(run, 3) is None
    none = made_run(tmp_path, recipe, 4, change=lambda one: replace(one, scores=None))
    assert read_scores(none, 4) is None
    assert metrics_from(scores(1.0)).roc_auc == pytest.approx(1.0, abs=0.01)


def test_the_data_end_no_element_and_are_read_back() -> None:
    told = {"words": HOSTILE, "number": 0.1, "none": None}
    text = as_json(told)
    assert json.loads(text) == told
    assert not set("<>&\u2028") & set(text)
    with pytest.raises(ValueError, match="JSON"):
        as_json({"number": float("nan")})
    assert b"<title>&lt;b&gt;</title>" in page_of({"runs": []}, "<b>")
