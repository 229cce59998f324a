"""What Prometheus reads: its own parser takes it, workers add up, and the page names each metric."""

import re
import shutil
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tandem.serving.counts import METRICS, Counts
from tandem.serving.metrics import Sheet, Sheets, text

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def sheet(times: int) -> Sheet:
    counts = Counts()
    counts.add("requests_total", "predict", "POST", "200", by=times)
    counts.add("unknown_keys_total", 'a "view"\\ of\nits own')
    for seconds in (0.0005, 0.0006, 99.0):
        counts.observe("request_seconds", seconds, "predict", times=times)
    counts.scored("champion", [0.05, 0.051], 3, 0.001)
    return Sheet(counts, {"workers": 1, "at_once": times})


def read(exposition: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(exposition)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_prometheus_reads_it() -> None:
    found = read(text(sheet(3), {("bundle_info", ("p", "champion", "abc")): 1.0}))
    labels = (("endpoint", "predict"), ("method", "POST"), ("status", "200"))
    assert found["tandem_requests_total", labels] == 3
    assert found["tandem_unknown_keys_total", (("view", 'a "view"\\ of\nits own'),)] == 1

    def up_to(bound: str) -> float:
        return found["tandem_request_seconds_bucket", (("endpoint", "predict"), ("le", bound))]

    assert (up_to("0.0005"), up_to("0.001"), up_to("10.0"), up_to("+Inf")) == (3, 6, 6, 9)
    assert found["tandem_request_seconds_count", (("endpoint", "predict"),)] == 9
    assert found["tandem_request_seconds_sum", (("endpoint", "predict"),)] == pytest.approx(3 * 99.0011)
    assert found["tandem_nulls_total", (("variant", "champion"),)] == 3
    assert found["tandem_bundle_info", (("bundle", "abc"), ("problem", "p"), ("variant", "champion"))] == 1
    assert found["tandem_stale_total", ()] == 0


def test_workers_add_up_and_what_the_dead_counted_stays(tmp_path: Path) -> None:
    (tmp_path / "lost+found").mkdir()  # where a volume is mounted there
    one, other = Sheets(tmp_path, "one"), Sheets(tmp_path, "other")
    one.write(sheet(1))
    other.write(sheet(10))
    assert one.total().counts.of("requests_total", "predict", "POST", "200") == 11
    assert other.total().gauges == {"workers": 2, "at_once": 11}
    one.close()  # as the kernel does for one that was killed
    assert other.total().counts.of("requests_total", "predict", "POST", "200") == 11
    assert other.total().gauges == {"workers": 1, "at_once": 10}
    third = Sheets(tmp_path, "third")
    assert not (tmp_path / "one").exists()
    assert third.total().counts.of("requests_total", "predict", "POST", "200") == 11
    assert third.total().counts.of("request_seconds", "predict") == 33
    other.write(sheet(2))
    assert third.total().counts.of("requests_total", "predict", "POST", "200") == 3
    for each in (other, third):
        each.close()


def test_a_folder_that_was_taken_away_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    one, other = Sheets(folder, "one"), Sheets(folder, "other")
    one.write(sheet(1))
    other.write(sheet(10))
    shutil.rmtree(folder)
    one.write(sheet(2))
    assert one.total().counts.of("requests_total", "predict", "POST", "200") == 2
    other.write(sheet(11))
    assert one.total().counts.of("requests_total", "predict", "POST", "200") == 13
    assert one.total().gauges == {"workers": 2, "at_once": 13}
    for each in (one, other):
        each.close()


def test_the_page_names_each_metric() -> None:
    page = PAGE.read_text().partition("## Metrics")[2]
    rows = re.findall(r"^\| `(\w+)`(?: by ([^|]*))? \| (\w+) \| (.*) \|$", page, re.MULTILINE)
    told = {name: (tuple(re.findall(r"`(\w+)`", labels)), kind, said) for name, labels, kind, said in rows}
    assert told == {m.name: (m.labels, m.kind, m.help) for m in METRICS.values()}
