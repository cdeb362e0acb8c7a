"""Fetching over real connections: whole and as recorded, or not there; resumed where it was cut."""

from __future__ import annotations

import base64
import fcntl
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from file_server import Site

from components.fetch_data import download
from components.fetch_data.fetch import chosen, fetch
from components.fetch_data.sources import lock_of, read_records, read_sources
from components.raw_data import RAW_NAMES
from model.errors import InputError

ROOT = Path(__file__).parents[3]
ISOFORMER = str(Path(sys.executable).parent / "isoformer")
NAME = "table.gct.gz"


class Project:
    """A table of sources, its lock, and a folder to fetch into."""

    def __init__(self, place: Path, site: Site) -> None:
        self.place, self.site = place, site
        self.table, self.folder = place / "sources.yaml", place / "data"
        self.lock = lock_of(self.table)
        self.waits: list[float] = []
        self.write()

    def write(self, addresses: list[str] | None = None, **entry: object) -> None:
        file = {"addresses": addresses or [f"{self.site.address}/{NAME}"], **entry}
        self.table.write_text(yaml.safe_dump({"schema_version": 1, "files": {NAME: file}}), encoding="utf-8")

    def fetch(self) -> list[str]:
        sources, said = read_sources(self.table), []
        names = chosen(sources, (), False)
        fetch(sources, self.folder, self.lock, names=names, say=said.append, wait=self.waits.append)
        return said

    def refused(self) -> str:
        with pytest.raises(InputError) as error:
            self.fetch()
        assert "\n" not in str(error.value)
        return str(error.value)

    @property
    def left(self) -> set[str]:
        """Names in the folder."""
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def project(tmp_path: Path, site: Site, content: bytes) -> Project:
    site.files[f"/{NAME}"] = content
    return Project(tmp_path, site)


def test_a_file_is_fetched_once_and_recorded(project: Project, content: bytes) -> None:
    (said,) = project.fetch()
    assert (project.folder / NAME).read_bytes() == content
    assert project.left == {NAME}
    digest = hashlib.sha256(content).hexdigest()
    assert digest[:12] in said
    assert "recorded" in said
    (record,) = read_records(project.lock).values()
    assert (record.sha256, record.size_bytes) == (digest, len(content))
    (said,) = project.fetch()
    assert "there already" in said
    assert len(project.site.asked) == 1


@pytest.mark.parametrize("cuts", [[1_000_000], [1, 500_000, 500_000, 0, 0, 700_000]])
def test_a_cut_connection_is_gone_on_with(project: Project, content: bytes, cuts: list[int]) -> None:
    project.site.cut_after = list(cuts)
    project.fetch()
    assert (project.folder / NAME).read_bytes() == content
    starts = [0 if wanted is None else int(wanted[6:-1]) for _, wanted in project.site.asked]
    assert starts == [sum(cuts[:number]) for number in range(len(cuts) + 1)]
    assert len(project.waits) == len(cuts)


def test_what_has_arrived_stays_for_the_next_call(project: Project, content: bytes) -> None:
    project.site.cut_after = [1_000_000, *[0] * download.ATTEMPTS]
    line = project.refused()
    assert f"the connection ended after 1,000,000 of {len(content):,} bytes" in line
    assert "the same command goes on" in line
    assert project.left == {f".{NAME}.partial", f".{NAME}.partial.json"}
    assert not project.lock.exists()
    project.site.cut_after.clear()
    project.site.asked.clear()
    project.fetch()
    assert project.site.asked == [(f"/{NAME}", "bytes=1000000-")]
    assert (project.folder / NAME).read_bytes() == content
    assert project.left == {NAME}


@pytest.mark.parametrize("lack", ["ranges", "validators"])
def test_a_server_that_cannot_go_on_starts_anew(project: Project, content: bytes, lack: str) -> None:
    setattr(project.site, lack, False)
    project.site.cut_after = [1_000_000, 2_000_000]
    project.fetch()
    assert (project.folder / NAME).read_bytes() == content
    assert len(project.site.asked) == 3


def test_a_server_that_always_cuts_is_given_up(project: Project) -> None:
    project.site.ranges = False
    project.site.cut_after = [1_000_000] * 50
    assert "times in a row" in project.refused()
    assert len(project.site.asked) == download.ATTEMPTS
    assert project.waits == sorted(project.waits)


def test_a_file_that_changed_between_two_parts_is_not_mixed(project: Project, content: bytes) -> None:
    project.site.cut_after = [1_000_000, *[0] * download.ATTEMPTS]
    project.refused()
    project.site.cut_after.clear()
    other = gzip.compress(os.urandom(2_500_000), compresslevel=0)
    project.site.files[f"/{NAME}"] = other
    project.fetch()
    assert (project.folder / NAME).read_bytes() == other


@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_that_changed_at_its_source_is_refused(project: Project, content: bytes, same_size: bool) -> None:
    project.fetch()
    (project.folder / NAME).unlink()
    changed = bytearray(content)
    changed[1000] ^= 1
    project.site.files[f"/{NAME}"] = bytes(changed) if same_size else content[:-5]
    before = project.lock.read_bytes()
    line = project.refused()
    assert project.site.address in line
    if same_size:
        assert hashlib.sha256(content).hexdigest() in line
        assert hashlib.sha256(changed).hexdigest() in line
        assert f"remove the record of {NAME}" in line
    else:
        assert f"{len(content) - 5:,} bytes where {len(content):,} are on record" in line
    assert project.left == set()
    assert project.lock.read_bytes() == before


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_file_that_changed_on_disk_is_refused_and_kept(project: Project, content: bytes, damage: str) -> None:
    project.fetch()
    changed = bytearray(content)
    changed[1000] ^= 1
    (project.folder / NAME).write_bytes(changed if damage == "flipped" else content[:-1])
    line = project.refused()
    assert str(project.folder / NAME) in line
    assert "Delete it and fetch it again" in line
    assert project.left == {NAME}


def test_a_file_of_unknown_origin_is_refused(project: Project) -> None:
    project.folder.mkdir()
    (project.folder / NAME).write_bytes(b"mine")
    assert "whose origin is not on record" in project.refused()
    assert (project.folder / NAME).read_bytes() == b"mine"
    assert project.site.asked == []


@pytest.mark.parametrize("status", [404, 403, 410, 500, 503])
def test_an_address_without_the_file_is_told_with_its_status(project: Project, status: int) -> None:
    project.site.status[f"/{NAME}"] = [status] * 20
    line = project.refused()
    assert f"HTTP {status}" in line
    assert f"{project.site.address}/{NAME}" in line
    assert project.left == set()
    assert len(project.site.asked) == (download.ATTEMPTS if status >= 500 else 1)


def test_a_busy_server_is_asked_again(project: Project, content: bytes) -> None:
    project.site.status[f"/{NAME}"] = [503, 429]
    project.fetch()
    assert (project.folder / NAME).read_bytes() == content


def test_the_second_address_is_tried_and_must_give_the_same(project: Project, content: bytes) -> None:
    gone, there = f"{project.site.address}/gone", f"{project.site.address}/{NAME}"
    project.write([gone, there])
    project.fetch()
    assert (project.folder / NAME).read_bytes() == content
    (project.folder / NAME).unlink()
    project.site.files["/gone"] = content[:-1] + b"?"
    assert "content of sha256" in project.refused()


def test_no_connection_is_told(project: Project) -> None:
    project.write(["http://127.0.0.1:1/table.gct.gz"])
    line = project.refused()
    assert "no connection" in line
    assert "refused" in line
    assert project.left == set()


def test_a_page_in_place_of_the_file_is_refused(project: Project) -> None:
    project.site.files[f"/{NAME}"] = b"<html>Please log in</html>"
    assert "expected a gzip file" in project.refused()
    project.site.headers["Content-Type"] = "text/html; charset=utf-8"
    assert "a web page in place of the file" in project.refused()
    assert project.left == set()
    assert not project.lock.exists()


@pytest.mark.parametrize("cut", [None, 1_000_000])
def test_a_reply_in_chunks_is_whole_or_asked_for_again(project: Project, content: bytes, cut: int | None) -> None:
    project.site.chunked = True
    project.site.cut_after = [cut]
    project.fetch()
    assert (project.folder / NAME).read_bytes() == content
    assert len(project.site.asked) == (1 if cut is None else 2)


@pytest.mark.parametrize("header", ["x-goog-hash", "Content-MD5"])
def test_the_digest_that_the_server_tells_is_compared_on_first_download(
    project: Project, content: bytes, header: str
) -> None:
    prefix = "crc32c=AAAAAA==,md5=" if header == "x-goog-hash" else ""
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    project.site.headers[header] = prefix + wrong
    assert "content of md5" in project.refused()
    assert project.left == set()
    project.site.headers[header] = prefix + base64.b64encode(hashlib.md5(content).digest()).decode()
    project.fetch()


def test_published_digests_and_sizes_are_compared(project: Project, content: bytes) -> None:
    project.write(sha256="0" * 64)
    assert f"expected content of sha256 {'0' * 64}" in project.refused()
    project.write(size_bytes=7)
    assert f"{len(content):,} bytes where 7 are on record" in project.refused()
    project.write(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
    project.fetch()
    project.write(sha256="1" * 64)
    assert "One of the two is wrong" in project.refused()


def test_redirects_are_followed_but_never_to_weaker_ones(project: Project, content: bytes) -> None:
    project.site.redirects["/moved"] = f"{project.site.address}/{NAME}"
    project.write([f"{project.site.address}/moved"])
    project.fetch()
    assert (project.folder / NAME).read_bytes() == content
    request = download.urllib.request.Request("https://example.org/a")
    with pytest.raises(download._NotThereError, match="unencrypted"):
        download._KeepSafe().redirect_request(request, None, 302, "", {}, "http://example.org/b")  # type: ignore[arg-type]


def test_a_full_disk_is_told_before_anything_is_written(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.shutil, "disk_usage", lambda path: _Usage())
    line = project.refused()
    assert "3 MB of free space, found 1 MB" in line
    assert project.left == set()


class _Usage:
    free = 1_000_000


def test_two_fetches_into_one_folder_do_not_mix(project: Project) -> None:
    project.folder.mkdir()
    other = os.open(project.folder, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    try:
        assert "one that is at work there" in project.refused()
    finally:
        os.close(other)
    project.fetch()


def test_a_crash_between_record_and_name_is_mended(project: Project, content: bytes) -> None:
    """The record is there, the file still has its partial name: the next call compares it and names it."""
    project.fetch()
    (project.folder / NAME).rename(project.folder / f".{NAME}.partial")
    project.fetch()
    assert (project.folder / NAME).read_bytes() == content
    assert project.left == {NAME}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "valid dictionary"),
        ("files: [", "expected YAML"),
        ("schema_version: 1\nfiles: {}", "at least 1 item"),
        ("schema_version: 1\nfiles: {a.gz: {addresses: []}}", "files.a.gz.addresses"),
        ("schema_version: 1\nfiles: {../a.gz: {addresses: ['http://x/a']}}", "match pattern"),
        ("schema_version: 1\nfiles: {a.gz: {addresses: ['file:///etc/passwd']}}", "file:///etc/passwd"),
        ("schema_version: 1\nfiles: {a.gz: {adresses: ['http://x/a']}}", "adresses"),
        ("schema_version: 2\nfiles: {a.gz: {addresses: ['http://x/a']}}", "schema_version"),
    ],
)
def test_a_bad_table_of_sources_is_refused_by_its_entry(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "sources.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_sources(tmp_path / "sources.yaml")
    assert said in str(error.value)
    assert str(tmp_path / "sources.yaml") in str(error.value)


def test_bad_records_are_refused(project: Project) -> None:
    project.lock.write_text("{")
    assert "sources.lock.json: expected records of fetched files" in project.refused()
    project.lock.write_text(json.dumps({"schema_version": 1, "files": {"a": {"size_bytes": 1, "sha256": "x"}}}))
    assert "sources.lock.json: files.a.sha256" in project.refused()


def test_the_official_table_names_what_the_steps_look_for() -> None:
    """By their documented names, so that `--data` needs no other option."""
    sources = read_sources(ROOT / "data" / "sources.yaml")
    needed = chosen(sources, (), False)
    for names in RAW_NAMES.values():
        assert len(set(names) & set(needed)) == 1
    assert len(needed) == len(RAW_NAMES) < len(chosen(sources, (), True))
    assert all(address.startswith("https://") for file in sources.files.values() for address in file.addresses)
    with pytest.raises(InputError, match="--only: expected one of genome"):
        chosen(sources, ["genome.fa"], False)


def test_the_command_is_killed_and_goes_on(project: Project, content: bytes) -> None:
    """From the command line: SIGKILL in the middle, then the same command; progress and the result are told."""
    command = [ISOFORMER, "fetch-data", "--sources", str(project.table), "--out", str(project.folder)]
    project.site.cut_after = [2_000_000, *[0] * 20]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=project.place)
    partial = project.folder / f".{NAME}.partial"
    deadline = time.monotonic() + 30
    while (not partial.exists() or partial.stat().st_size < 2_000_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    project.site.cut_after.clear()
    project.site.asked.clear()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project.place)
    assert done.returncode == 0, done.stderr
    assert project.site.asked == [(f"/{NAME}", "bytes=2000000-")]
    assert (project.folder / NAME).read_bytes() == content
    assert f"isoformer validate-data --data {project.folder}" in done.stdout
    shown = subprocess.run([*command, "--list"], capture_output=True, text=True, check=True, cwd=project.place).stdout
    assert project.site.address in shown
    project.site.files.clear()
    (project.folder / NAME).unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project.place)
    assert done.returncode == 2
    assert done.stderr.startswith("isoformer: ")
    assert "HTTP 404" in done.stderr
