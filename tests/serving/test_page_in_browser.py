"""The page in a real browser: Debian's Chromium, headless, driven by Playwright."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from packaging_inputs import TISSUES, Packaged

from serving.app import build_app
from serving.limits import Gate
from serving.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="!!! no chromium here: the page is NOT tested in a browser"),
]


@contextmanager
def serving(**settings: Any) -> Iterator[str]:
    """The application behind uvicorn on a free loopback port."""
    with pytest.MonkeyPatch.context() as monkeypatch, socket.socket() as listening:
        for name, value in settings.items():
            monkeypatch.setenv(f"ISOFORMER_SERVE_{name.upper()}", str(value))
        listening.bind(("127.0.0.1", 0))
        state = Server()
        app = Gate(build_app(state), max_body_bytes=lambda: state.settings.max_body_bytes)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while state.not_ready == "starting":
            time.sleep(0.02)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(package: Packaged) -> Iterator[str]:
    with serving(package=package.source / "package", reference=package.inputs["transcripts"], threads=1) as at:
        yield at


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    from playwright.sync_api import expect

    context = browser.new_context(viewport={"width": 1200, "height": 1000}, accept_downloads=True)
    opened = context.new_page()
    problems: list[str] = []
    requested: list[str] = []
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("request", lambda request: requested.append(request.url))
    opened.goto(address)
    expect(opened.locator("#model")).to_have_text(re.compile("^Model "))
    yield opened
    # Refusals of the server show as failed loads; scripts and the content policy must not complain.
    assert [text for text in problems if "Failed to load resource" not in text] == []
    assert [url for url in requested if not url.startswith((address, "data:", "blob:"))] == []
    context.close()


def screenshot(page: Page, name: str) -> None:
    """Keep a picture where ISOFORMER_SCREENSHOTS names a folder."""
    if folder := os.environ.get("ISOFORMER_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)


def test_isoforms_of_a_gene_are_compared_with_the_keyboard_alone(page: Page, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    page.focus("#gene")
    page.keyboard.type("GENE2")
    page.keyboard.press("Enter")
    boxes = page.locator("#choices input")
    expect(boxes).to_have_count(2)
    boxes.nth(1).focus()
    page.keyboard.press("Space")
    page.focus("#compare")
    page.keyboard.press("Enter")
    expect(page.locator("#rows tr")).to_have_count(len(TISSUES))
    expect(page.locator("#columns th")).to_have_text(["Tissue", "SIMT00000000004.1", "SIMT00000000005.2"])
    expect(page.locator("#answer-title")).to_be_focused()
    expect(page.locator("#simulated")).to_be_visible()
    assert page.locator("#rows svg .whisker").count() == 3 * 2 * len(TISSUES)
    screenshot(page, "compare")
    with page.expect_download() as caught:
        page.click("#download")
    file = tmp_path / "answer.csv"
    caught.value.save_as(file)
    with file.open(newline="") as handle:
        records = list(csv.DictReader(handle))
    assert len(records) == 2 * len(TISSUES)
    assert {record["tissue"] for record in records} == set(TISSUES)
    assert all(float(record["low_tpm"]) <= float(record["tpm"]) <= float(record["high_tpm"]) for record in records)


def test_a_pasted_fasta_is_predicted_as_the_endpoint_does_and_sorted(page: Page, address: str) -> None:
    from playwright.sync_api import expect

    rna = "GGGACATTCCCGAACATGGCTAGCTAA"
    page.fill("#rna", f">my transcript\n{rna[:10].lower()}\n{rna[10:]}\n")
    page.click("#predict")
    expect(page.locator("#rows tr")).to_have_count(len(TISSUES))
    answer = page.request.post(
        f"{address}/v1/predict",
        data=json.dumps({"items": [{"rna": rna}]}),
        headers={"content-type": "application/json"},
    ).json()
    values = {entry["tissue"]: entry["log1p_tpm"] for entry in answer["items"][0]["expression"]}
    assert page.locator("#rows th").all_inner_texts() == list(values)
    page.select_option("#order", "highest")
    assert page.locator("#rows th").all_inner_texts() == sorted(values, key=lambda tissue: -values[tissue])
    widths = [
        float(text or 0)
        for text in page.locator("#rows .bar").evaluate_all("all => all.map(e => e.getAttribute('width'))")
    ]
    assert widths == sorted(widths, reverse=True)
    assert "no training transcript" in page.inner_text("#notes")
    screenshot(page, "pasted")


def test_problems_are_told_and_announced(page: Page) -> None:
    from playwright.sync_api import expect

    page.click("#predict")
    expect(page.locator("#problem")).to_have_text("Paste at least one sequence.")
    page.fill("#rna", "ACGT!")
    page.click("#predict")
    expect(page.locator("#problem")).to_contain_text("position 5")
    page.fill("#rna", ">a\nACGT\n>b\nACGT")
    page.click("#predict")
    expect(page.locator("#problem")).to_contain_text("one FASTA record")
    page.fill("#gene", "<b>nobody</b>")
    page.click("#find")
    expect(page.locator("#problem")).to_have_text("No gene or transcript <b>nobody</b> in the mounted reference.")
    assert page.get_attribute("#problem", "role") == "alert"
    screenshot(page, "problem")


def test_every_control_has_a_name_and_both_colour_schemes_have_contrast(page: Page) -> None:
    page.fill("#rna", "ACGTACGTACGT")
    page.click("#predict")
    page.wait_for_selector("#rows tr")
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, textarea, select, button')]"
        ".filter(e => !(e.labels && e.labels.length) && !e.textContent.trim()).map(e => e.id)"
    )
    assert unnamed == []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for selector in ("h1", "#model", "#provenance", "#rows th", ".range", ".warning", ".hint"):
            assert page.evaluate(CONTRAST, selector) >= 4.5, (scheme, selector)
        screenshot(page, scheme)
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    screenshot(page, "narrow")


# WCAG 2.2 contrast of an element's text with the nearest background that is painted.
CONTRAST = """selector => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (text) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (rgba) => {
    const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgba.slice(0, 3).map(v => linear(v / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const start = document.querySelector(selector);
  let back = matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18, 255] : [255, 255, 255, 255];
  for (let e = start; e; e = e.parentElement) {
    const colour = rgb(getComputedStyle(e).backgroundColor);
    if (colour[3] === 255) { back = colour; break; }
  }
  const [a, b] = [light(rgb(getComputedStyle(start).color)), light(back)].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
}"""
