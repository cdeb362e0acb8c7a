"""What is done for many at once equals what is obvious one by one."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from small_files import gtf_row

from components.extract_sequences import annotation as annotation_module
from components.extract_sequences.annotation import read_annotation
from components.extract_sequences.attributes import parse_gtf
from components.extract_sequences.columns import ATTRIBUTES, NameNumbers, split_rows
from components.extract_sequences.digits import decimals, integers, words
from components.extract_sequences.expression_table import TextTable
from components.extract_sequences.gtf import GtfDialect, _transcript_id
from components.extract_sequences.pieces import Pieces
from model.errors import InputError

quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LINES = st.lists(st.text(alphabet='ab"; \t#\r.', max_size=20), max_size=12)


def joined(fields: list[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Letters of fields one after the other, eight bytes in; where each ends, and its width."""
    codes = np.frombuffer(b" " * 8 + b"\t".join(fields) + b"\t", dtype=np.uint8)
    width = np.array([len(field) for field in fields], dtype=np.int64)
    return codes, 7 + np.cumsum(width + 1), width


@given(st.lists(st.integers(0, 10**18 - 1).map(lambda value: b"%d" % value), min_size=1, max_size=30))
def test_integers_are_read(fields: list[bytes]) -> None:
    """Of one to eighteen digits."""
    codes, end, width = joined(fields)
    values, bad = integers(codes, end - width, width)
    assert values.tolist() == [int(field) for field in fields]
    assert not bad.any()


@given(st.lists(st.binary(min_size=1, max_size=18), min_size=1, max_size=30))
def test_what_is_no_integer_is_marked(fields: list[bytes]) -> None:
    """Any other byte, wherever it stands."""
    codes, end, width = joined(fields)
    _, bad = integers(codes, end - width, width)
    assert bad.tolist() == [re.fullmatch(rb"[0-9]+", field) is None for field in fields]


@given(st.lists(st.from_regex(rb"[0-9]{1,7}(\.[0-9]{0,6})?|\.[0-9]{1,7}", fullmatch=True), min_size=1, max_size=30))
@example([b"0.07", b"106.2", b"0", b"12345678", b"5.", b".5", b"0.0"])
def test_decimals_are_the_nearest_floats(fields: list[bytes]) -> None:
    """To the last bit, as `float` has them; longer ones are left to it."""
    codes, end, width = joined(fields)
    values, good = decimals(codes, end, width)
    assert good.tolist() == [len(field) <= 8 for field in fields]
    assert [value for value, well in zip(values.tolist(), good, strict=True) if well] == [
        float(field) for field in fields if len(field) <= 8
    ]


@given(st.lists(st.text(alphabet="0123456789.-+e/:", min_size=1, max_size=8).map(str.encode), min_size=1, max_size=20))
@example([b".", b"..", b"1.2.3", b"-1", b"1e3", b"/.1", b"1./2"])
def test_what_is_no_decimal_is_marked(fields: list[bytes]) -> None:
    """Signs, exponents, two dots, a dot alone."""
    codes, end, width = joined(fields)
    _, good = decimals(codes, end, width)
    plain = re.compile(rb"[0-9]+\.?[0-9]*|\.[0-9]+")
    assert good.tolist() == [plain.fullmatch(field) is not None for field in fields]


@given(st.binary(max_size=30), st.data())
def test_words_are_bytes(content: bytes, data: st.DataObject) -> None:
    """With zeros past the end."""
    starts = data.draw(st.lists(st.integers(0, len(content) + 9), max_size=8))
    found = words(np.frombuffer(content, dtype=np.uint8), np.array(starts, dtype=np.int64))
    assert found.tolist() == [int.from_bytes(content[start : start + 8], "little") for start in starts]


@quick
@given(LINES)
def test_blocks_with_and_without_comments_split_alike(rows: list[str]) -> None:
    """A comment before it makes a block take the way that looks at each line."""
    lines = [re.sub(r"[\t#\r]", "", text) for text in rows]
    block = "".join(f"c\ts\t{text}\t1\t2\t.\t+\t.\t{text};\n" for text in lines).encode()
    if not block:
        return
    plain = split_rows(Path("p"), block, 0)
    careful = split_rows(Path("p"), b"#\t\n" + block, 0)
    assert (plain.edges + 3 == careful.edges).all()
    assert (plain.line + 1 == careful.line).all()
    assert plain.lines + 1 == careful.lines


@quick
@given(st.lists(st.lists(st.text(alphabet="abé", max_size=20), min_size=1, max_size=6), max_size=5))
def test_names_are_numbered_as_they_appear(blocks: list[list[str]]) -> None:
    """The same over all blocks."""
    numbers = NameNumbers()
    seen: dict[str, int] = {}
    for block in blocks:
        text = "".join(f"{name}\ts\texon\t1\t2\t.\t+\t.\tx\n" for name in block).encode()
        rows = split_rows(Path("p"), text, 0)
        expected = [seen.setdefault(name, len(seen)) for name in block]
        assert numbers.of(rows, 0).tolist() == expected
    assert numbers.names == list(seen)


IDS = st.text(alphabet="AB1", min_size=1, max_size=14)
ATTRIBUTE_TEXTS = st.tuples(
    st.sampled_from(["", 'gene_id "G1"; ', 'gene_id "G11"; gene_version "2"; ', 'my_transcript_id "Z"; ', "level 2; "]),
    st.one_of(IDS.map('transcript_id "{}"'.format), IDS.map("transcript_id {}".format)),
    st.sampled_from([";", "; exon_number 1;", '; tag "basic"; tag "x";', ""]),
).map("".join)


@quick
@given(st.lists(st.tuples(ATTRIBUTE_TEXTS, st.integers(1, 4), st.sampled_from(["exon", "CDS"])), min_size=1))
def test_runs_of_rows_belong_to_the_transcripts_that_each_names(runs: list[tuple[str, int, str]]) -> None:
    """Rows that begin alike are not looked at one by one."""
    text = "".join(gtf_row(feature, 1, 2, attributes) * times for attributes, times, feature in runs).encode()
    rows = split_rows(Path("p"), text, 0)
    dialect = GtfDialect(Path("p"))
    _, numbers = dialect.transcripts_of(rows)
    seen: dict[bytes, int] = {}
    for row in range(len(rows)):
        found = _transcript_id(text, int(rows.edges[row, ATTRIBUTES]), int(rows.edges[row, ATTRIBUTES + 1]))
        assert found is not None
        assert numbers[row] == seen.setdefault(found[0], len(seen))


def simple_gtf(text: str) -> dict[str, str]:
    """Attributes taken letter by letter from outside and inside quotes."""
    attributes: dict[str, str] = {}

    def bare(pairs: str) -> None:
        for pair in pairs.split(";"):
            words = pair.split(None, 1)
            if len(words) == 2:
                attributes.setdefault(words[0], words[1].strip())

    pieces = text.split('"')
    for index in range(0, len(pieces) - 1, 2):
        key = pieces[index].strip("; \t")
        if " " in key or "\t" in key:
            before, _, key = key.rpartition(" ")
            bare(before)
        attributes[key] = f"{attributes[key]},{pieces[index + 1]}" if key in attributes else pieces[index + 1]
    bare(pieces[-1])
    return attributes


@given(st.text(alphabet='ab12 ;"\t_.', max_size=60))
@example('gene_id "G"; level 2; tag "a"; tag "b"; exon_number 3; note "x; y"')
def test_attributes_are_those_of_the_simple_reader(text: str) -> None:
    """Whatever the text; so do those of real GENCODE rows."""
    assert parse_gtf(text) == simple_gtf(text)


def test_attributes_of_real_rows_are_those_of_the_simple_reader(shared: Path) -> None:
    """GENCODE v24 and RefSeq."""
    with gzip.open(shared / "annotation" / "demo.gtf.gz", "rt") as handle:
        texts = [line.split("\t")[8].rstrip("\n") for line in handle if not line.startswith("#")]
    assert len(texts) > 10_000
    for text in texts:
        assert parse_gtf(text) == simple_gtf(text)


VALUES = st.one_of(
    st.sampled_from(["0", "0.0", "0.00", "1e3", "1.5e-05", "12345678.9", "1e-400", "7.", ".5"]),
    st.floats(0, 1e6).map(lambda value: f"{value:.4g}"),
    st.integers(0, 10**9).map(str),
)
BROKEN = st.sampled_from(["", "-1", "nan", "inf", "x", " 1", "1_0", "1.2.3", "1\t2", "1\r", "\n"])


@quick
@given(
    st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=1, max_size=6),
    st.one_of(st.none(), st.tuples(st.integers(0, 17), BROKEN)),
    st.sampled_from(["\t", ","]),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
)
def test_tables_are_read_the_same_by_both_ways(
    tmp_path: Path, rows: list[list[str]], broken: tuple[int, str] | None, delimiter: str, line_end: str
) -> None:
    """The fast way gives what the careful one gives, or leaves it the block; a bad value is never read."""
    if broken is not None:
        rows[broken[0] // 3 % len(rows)][broken[0] % 3] = broken[1]
    path = tmp_path / "t.txt"
    path.write_text(delimiter.join(["transcript_id", "a", "b", "c"]) + "\n")
    table = TextTable(path)
    lines = [delimiter.join([f"TRANSCRIPT{number}", *row]) for number, row in enumerate(rows)]
    block = (line_end.join(lines) + line_end).encode()
    fast = table.parse_plain(block, 1)
    try:
        careful: Any = table.parse_any(block, 1)
    except InputError:
        careful = None
    if careful is None:
        assert fast is None
    elif fast is not None:
        for name in ("line", "tpm", "row", "sample"):
            assert getattr(fast, name).tolist() == getattr(careful, name).tolist()
        assert fast.ids == careful.ids
    elif line_end == "\n" and broken is None:
        raise AssertionError("the fast way did not read a plain block")


@quick
@given(st.lists(st.integers(0, 60), min_size=1, max_size=12), st.integers(1, 80))
def test_blocks_are_the_file_in_whole_lines(tmp_path: Path, lengths: list[int], size: int) -> None:
    """Lines shorter and longer than a block, from pieces of any size."""
    from unittest.mock import patch

    from components.extract_sequences import streams

    content = b"".join(b"A" * length + b"\n" for length in lengths)
    (tmp_path / "f").write_bytes(content)
    with patch.object(streams, "READ_BYTES", max(1, size // 3)):
        blocks = list(streams.read_blocks(tmp_path / "f", size))
    assert b"".join(blocks) == content
    assert all(block.endswith(b"\n") for block in blocks)


@pytest.mark.parametrize("name", ["demo.gtf.gz", "chr2_chr8_part.gencode.gff3.gz"])
def test_annotation_read_in_two_processes_is_the_same(shared: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, places and pieces, with the default block size and with many small blocks."""
    path = shared / "annotation" / name
    alone = read_annotation(path)
    monkeypatch.setattr(annotation_module, "_LARGE_BYTES", 0)
    monkeypatch.setattr(annotation_module.read_blocks, "__defaults__", (30_000,))
    forked = read_annotation(path)
    for field in ("naming", "contig", "strand", "trans_spliced", "simulated", "format"):
        assert getattr(forked, field) == getattr(alone, field), field
    assert (forked.line == alone.line).all()
    for kind in ("exons", "cds", "selenocysteines"):
        one, other = getattr(forked, kind), getattr(alone, kind)
        for field in Pieces.__dataclass_fields__:
            assert (getattr(one, field) == getattr(other, field)).all(), (kind, field)
