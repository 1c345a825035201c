import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import raw as raw_file
from benchmarks.report import BEGIN, END, NoBlock, main, with_block
from tests.support.bench import of_cpu, raw, result, rounds

README = f"# A title\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n"


def test_the_block_is_replaced_and_nothing_else():
    assert with_block(README, "new\nlines\n") == README.replace("old", "new\nlines")


@given(before=st.text(), old=st.text(), new=st.text(), after=st.text())
def test_the_block_can_be_replaced_again(before, old, new, after):
    once = with_block(f"{before}{BEGIN}{old}{END}{after}", new)
    assert with_block(once, new) == once
    assert once.startswith(before)
    assert once.endswith(after)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="none"),
        pytest.param(f"{BEGIN}\n", id="no-end"),
        pytest.param(f"{END}\n", id="no-beginning"),
        pytest.param(f"{END}\n{BEGIN}\n", id="wrong-way-round"),
        pytest.param(README + README, id="twice"),
    ],
)
def test_a_text_without_the_marks_is_refused(text):
    with pytest.raises(NoBlock, match="bench"):
        with_block(text, "new")


@pytest.fixture
def files(tmp_path):
    """Return a raw file of two rounds and a README, in a separate directory."""
    cpu = {"nginx": 10.0, "haproxy": 9.0, "fastroute": 12.0}
    one, two = of_cpu(cpu), of_cpu({who: 2 * us for who, us in cpu.items()})
    for each in (one, two):
        each["direct"] = result(cpu_seconds={"servers": 0.001, "load": 0.002})
    two["haproxy"].errors = {"status 502: no": 7}
    run = raw(rounds={"json-saturated": rounds(one, two)}, left_out={"smg": "no wheel\nmore"})
    raw_file.save(run, tmp_path / "bench.json")
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def test_from_the_raw_file_to_everything(files, capsys):
    assert main([str(files / "bench.json"), "--readme", str(files / "README.md")]) == 0
    readme = (files / "README.md").read_text()
    assert "1.20 (1.20-1.20) x nginx" in readme
    assert "A processor, 2 cores" in readme
    assert "![cpu](benchmarks/results/cpu.svg)" in readme
    assert readme.endswith("The rest.\n")
    document = (files / "bench.md").read_text()
    assert "| fastroute | 18.0 | 12.0-24.0 | 1.20 | 1.20-1.20 |" in document
    assert "**haproxy: 7 wrong**: status 502: no" in document
    assert "smg was skipped: no wheel\n" in document
    ET.parse(files / "cpu.svg")
    assert not (files / "latency.svg").exists()
    assert "stretch goal" in capsys.readouterr().out


def test_it_can_leave_the_readme_alone(files):
    assert main([str(files / "bench.json"), "--no-readme"]) == 0
    assert (files / "README.md").read_text() == README


def test_what_cannot_be_read_is_named(files, capsys):
    assert main([str(files / "nothing.json")]) == 2
    assert "nothing.json: No such file" in capsys.readouterr().err
    (files / "broken.json").write_text("{}")
    assert main([str(files / "broken.json")]) == 2
    assert "broken.json: " in capsys.readouterr().err


def test_a_readme_without_the_block_does_not_change(files, capsys):
    (files / "README.md").write_text("nothing")
    assert main([str(files / "bench.json"), "--readme", str(files / "README.md")]) == 2
    assert "README.md: there must be one line" in capsys.readouterr().err
    assert (files / "README.md").read_text() == "nothing"
