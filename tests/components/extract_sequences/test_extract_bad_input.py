"""Bad raw files: one error that names file, line and value, whatever is wrong."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_files import gtf_row

from components.extract_sequences.annotation import read_annotation
from components.extract_sequences.expression import read_expression
from components.extract_sequences.fasta import write_genome
from components.extract_sequences.samples import read_sample_tissues
from components.extract_sequences.streams import read_blocks
from components.extract_sequences.transcripts import Extraction
from components.fabricate.genome import write_bgzf
from model.errors import InputError

NAMES = 'gene_id "G1"; transcript_id "T1";'
GOOD = gtf_row("exon", 1, 4, NAMES)


def refuse_annotation(folder: Path, text: str | bytes) -> str:
    """The message with which an annotation is refused."""
    path = folder / "annotation.gtf"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError) as error:
        read_annotation(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_eight_columns(tmp_path: Path) -> None:
    """Line number and count."""
    message = refuse_annotation(tmp_path, "# comment\n" + GOOD + GOOD.replace("\t.\t+", "\t+"))
    assert "line 3: expected nine tab-separated columns" in message
    assert "found 8 in" in message


@pytest.mark.parametrize(
    ("start", "end", "found"),
    [("0", "4", "'0'"), ("-3", "4", "'-3'"), ("x", "4", "'x'"), ("7", "4", "7-4"), ("", "4", "''")],
)
def test_coordinates_that_are_none(tmp_path: Path, start: str, end: str, found: str) -> None:
    """Zero, negative, backwards or no number."""
    message = refuse_annotation(tmp_path, GOOD + GOOD.replace("\t1\t4\t", f"\t{start}\t{end}\t"))
    assert "line 2" in message
    assert found in message


def test_exon_without_transcript(tmp_path: Path) -> None:
    """An attribute that only ends in transcript_id is none."""
    message = refuse_annotation(tmp_path, gtf_row("exon", 1, 4, 'gene_id "G"; orig_transcript_id "T1";'))
    assert "line 1: expected an attribute transcript_id" in message
    for attributes in ("transcript_id", "transcript_id ", 'transcript_id "', 'transcript_id "";'):
        refuse_annotation(tmp_path, gtf_row("exon", 1, 4, attributes))


def test_duplicated_transcript(tmp_path: Path) -> None:
    """Two transcript rows of one id."""
    row = gtf_row("transcript", 1, 4, NAMES)
    assert "line 3: expected each transcript once, found duplicated transcript 'T1', already on line 1" in (
        refuse_annotation(tmp_path, row + GOOD + row)
    )


def test_overlapping_exons(extraction: Callable[..., Extraction]) -> None:
    """Its sequence would be told twice."""
    with pytest.raises(InputError, match=r"line 2: expected exons of a transcript that do not overlap.*'T1'"):
        extraction(GOOD + gtf_row("exon", 3, 6, NAMES), {"chr1": "ACGTACGT"})


def test_exon_outside_its_contig(extraction: Callable[..., Extraction]) -> None:
    """Line, interval and the contig's length."""
    with pytest.raises(
        InputError, match=r"line 2: expected an interval on contig 'chr1' of 8 bases, found 7-9 of 'T1'"
    ):
        extraction(GOOD + gtf_row("exon", 7, 9, NAMES), {"chr1": "ACGTACGT"})


def test_no_contig_in_common(extraction: Callable[..., Extraction]) -> None:
    """Genome and annotation of different species."""
    with pytest.raises(InputError, match="contigs of the genome"):
        extraction(GOOD, {"scaffold_1": "ACGT"})


@pytest.mark.parametrize("content", [b"", b"\n\n", b"# only comments\n", gtf_row("gene", 1, 4, NAMES).encode()])
def test_annotation_without_exons(tmp_path: Path, content: bytes) -> None:
    """Empty, blank, comments, genes alone."""
    assert refuse_annotation(tmp_path, content)


def test_truncated_gzip(tmp_path: Path) -> None:
    """A file cut off anywhere is never read as if it ended there."""
    whole = gzip.compress(b"".join(gtf_row("exon", i + 1, i + 1, NAMES).encode() for i in range(4000)))
    for size in (1, 12, len(whole) // 2, len(whole) - 4):
        path = tmp_path / "cut.gz"
        path.write_bytes(whole[:size] if size > 1 else whole[:2])
        with pytest.raises(InputError, match="truncated or damaged"):
            list(read_blocks(path))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with pytest.raises(InputError, match="truncated or damaged"):
        list(read_blocks(path))


def test_truncated_bgzip(tmp_path: Path) -> None:
    """Cut off within a block or between two: the mark at the end is missing. Joined files are read to the end."""
    content = b"".join(b">c%d\nACGT\n" % i for i in range(40_000))
    path = tmp_path / "genome.fa.gz"
    write_bgzf(path, content)
    whole = path.read_bytes()
    assert b"".join(read_blocks(path)) == content
    path.write_bytes(whole + whole)
    assert b"".join(read_blocks(path)) == content + content
    for size in (20, 1000, len(whole) // 2, len(whole) - 28, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="truncated or damaged"):
            list(read_blocks(path))
    path.write_bytes(whole[:3000] + b"\0" + whole[3001:])
    with pytest.raises(InputError, match="truncated or damaged"):
        list(read_blocks(path))


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_of_any_make_is_read_whole(tmp_path: Path, members: int) -> None:
    """One member or several, zeros behind, highly compressible; blocks end with lines and join to the content."""
    content = b"".join(b"line %d\n" % i for i in range(20_000)) + b"x" * 40_000_000
    path = tmp_path / "text.gz"
    path.write_bytes(b"".join(gzip.compress(content) for _ in range(members)) + bytes(64))
    blocks = list(read_blocks(path))
    assert b"".join(blocks) == content * members + b"\n"
    assert all(block.endswith(b"\n") for block in blocks)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ACGT\n", "line 1: expected a FASTA header"),
        (">a\nACGT\n>a\nAC\n", "line 3: expected each contig once, found 'a' again"),
        (">a\nAC\nAC-T\n", "line 3: expected nucleotides, found '-'"),
        (">a\nACGT\n>\nAC\n", "line 3: expected a contig name"),
        (">a\n>b\nAC\n", "expected bases in each contig, found none in 'a'"),
    ],
)
def test_fasta(tmp_path: Path, text: str, said: str) -> None:
    """Header, name, letters."""
    (tmp_path / "genome.fa").write_text(text)
    with pytest.raises(InputError) as error:
        write_genome(tmp_path / "genome.fa", tmp_path / "genome.safetensors")
    assert said in str(error.value)


ATTRIBUTES = "SAMPID\tSMTS\tSMAFRZE\ns1\tLiver\tRNASEQ\ns2\tLung\tRNASEQ\ns3\tLung\tWGS\n"
TABLE = "#1.2\n2\t2\ntranscript_id\tgene_id\ts1\ts2\nT1\tG1\t1\t2\nT2\tG1\t0\t0.5\n"


def refuse_expression(folder: Path, table: str, attributes: str = ATTRIBUTES) -> str:
    """The message with which an expression table is refused."""
    (folder / "attributes.txt").write_text(attributes)
    (folder / "tpm.gct").write_text(table)
    with pytest.raises(InputError) as error:
        read_expression(folder / "tpm.gct", read_sample_tissues(folder / "attributes.txt"))
    return str(error.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("#1.2", "#1.3", "line 1: expected #1.2"),
        ("2\t2\n", "2\t3\n", "line 3: expected 3 samples, as line 2 says, found 2"),
        ("2\t2\n", "7\t2\n", "line 2: expected 7 rows, as this line says, found 2"),
        ("2\t2\n", "two\t2\n", "line 2: expected numbers of rows and of samples"),
        ("T1\tG1\t1\t2\n", "T1\tG1\t1\n", "line 4: expected 4 columns, found 3"),
        ("T1\tG1\t1\t2\n", "T1\tG1\t1\t2\t3\n", "line 4: expected 4 columns, found 5"),
        ("0\t0.5", "0\tNA", "line 5: expected TPM, a number not below 0, found 'NA'"),
        ("0\t0.5", "0\t-0.5", "line 5: expected TPM, a number not below 0, found '-0.5'"),
        ("0\t0.5", "0\tinf", "line 5: expected TPM, a number not below 0, found 'inf'"),
        ("0\t0.5", "0\tnan", "line 5: expected TPM, a number not below 0, found 'nan'"),
        ("0\t0.5", "0\t", "line 5: expected TPM, a number not below 0, found ''"),
        ("T2", "T1", "line 5: expected each transcript once, found duplicated 'T1', already on line 4"),
        ("s2\n", "s1\n", "line 3: expected each sample once, found 's1' again"),
        ("s2\n", "s9\n", "found none for 's9'"),
        ("s2\n", "s3\n", "found none for 's3'"),
        ("transcript_id", "what", "line 3: expected a header transcript_id, gene_id, samples"),
        (TABLE, "", "expected text, found an empty file"),
        ("T1\tG1\t1\t2\nT2\tG1\t0\t0.5\n", "", "line 2: expected 2 rows"),
    ],
)
def test_expression_table(tmp_path: Path, old: str, new: str, said: str) -> None:
    """Header against body, values, names."""
    assert said in refuse_expression(tmp_path, TABLE.replace(old, new))


def test_short_row_does_not_hide_behind_a_long_one(tmp_path: Path) -> None:
    """Two rows of 1 and 3 values are not two rows of 2."""
    message = refuse_expression(tmp_path, TABLE.replace("T1\tG1\t1\t2\n", "T1\tG1\t1\n").replace("0.5", "0.5\t1"))
    assert "line 4: expected 4 columns, found 3" in message


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("\tLiver\t", "\t\t", "line 2: expected a tissue for each sample of the expression table, found none for 's1'"),
        ("SMTS", "TISSUE", "line 1: expected a column 'SMTS'"),
        ("s2\tLung", "s1\tLung", "line 3: expected each sample once, found 's1' again"),
        ("s2\tLung\tRNASEQ", "s2", "line 3: expected at least 3 columns, found 1"),
        ("RNASEQ", "OMNI", "expected samples (with SMAFRZE = RNASEQ where it is given), found none"),
    ],
)
def test_sample_attributes(tmp_path: Path, old: str, new: str, said: str) -> None:
    """A sample without tissue, a missing column, a sample twice, a short row."""
    assert said in refuse_expression(tmp_path, TABLE, ATTRIBUTES.replace(old, new))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.text(alphabet='\t\n;"= #>ACGTNchr1exonCDStranscript_id.+-0123456789', max_size=300).map(str.encode),
        st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=4)).map(
            lambda change: (GOOD * 4)[: change[0]].encode() + change[1] + (GOOD * 4)[change[0] :].encode()
        ),
    )
)
def test_any_bytes_are_read_or_refused(tmp_path: Path, content: bytes) -> None:
    """Each parser raises its own error type or none."""
    path = tmp_path / "fuzz"
    path.write_bytes(content)
    (tmp_path / "attributes.txt").write_text(ATTRIBUTES)
    attributes = read_sample_tissues(tmp_path / "attributes.txt")
    for read in (
        read_annotation,
        read_sample_tissues,
        lambda item: read_expression(item, attributes),
        lambda item: write_genome(item, tmp_path / "genome.safetensors"),
    ):
        with contextlib.suppress(InputError):
            read(path)
