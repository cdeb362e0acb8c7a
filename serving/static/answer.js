"use strict";

// Drawing an answer, and turning it into CSV.

const SVG = document.getElementById("drawing").namespaceURI;

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const number = (value) => (value >= 1000 ? Math.round(value).toLocaleString("en") : value.toPrecision(3));

// A bar of log1p TPM with its interval; the numbers beside it say the same in words.
function bar(entry, largest) {
  const svg = shape("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" });
  const at = (value) => (largest > 0 ? (100 * Math.max(value, 0)) / largest : 0);
  svg.append(shape("rect", { class: "bar", x: 0, y: 1, height: 8, width: at(entry.log1p_tpm) }));
  if (entry.interval) {
    const [low, high] = [at(entry.interval.low_log1p_tpm), at(entry.interval.high_log1p_tpm)];
    const lines = [[low, high, 5, 5], [low, low, 2, 8], [high, high, 2, 8]];
    for (const [x1, x2, y1, y2] of lines) svg.append(shape("line", { class: "whisker", x1, x2, y1, y2 }));
  }
  return svg;
}

function cell(entry, largest) {
  const made = element("td");
  const figure = element("span", number(entry.tpm), { class: "figure" });
  if (entry.interval) {
    const range = ` (${number(entry.interval.low_tpm)} to ${number(entry.interval.high_tpm)})`;
    figure.append(element("span", range, { class: "range" }));
  }
  made.append(figure, bar(entry, largest));
  return made;
}

// Rows of the table: one tissue each, one column per transcript.
function tableRows(items, order) {
  const ends = items.flatMap((item) =>
    item.expression.map((entry) => (entry.interval ? entry.interval.high_log1p_tpm : entry.log1p_tpm)),
  );
  const largest = Math.max(0, ...ends);
  const rank = items[0].expression.map((_, row) => row);
  if (order === "highest") {
    const best = (row) => Math.max(...items.map((item) => item.expression[row].log1p_tpm));
    rank.sort((a, b) => best(b) - best(a));
  }
  return rank.map((row) => {
    const made = element("tr");
    made.append(element("th", items[0].expression[row].tissue, { scope: "row" }));
    made.append(...items.map((item) => cell(item.expression[row], largest)));
    return made;
  });
}

function csvOf(answer, names) {
  // A cell that a spreadsheet would take for a formula gets a quote in front.
  const quoted = (value) => `"${String(value).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`;
  const head = "transcript,tissue,log1p_tpm,tpm,low_tpm,high_tpm,coverage,model,model_digest,simulated";
  const from = answer.provenance;
  const lines = answer.items.flatMap((item, place) =>
    item.expression.map((entry) =>
      [
        quoted(names[place]),
        quoted(entry.tissue),
        entry.log1p_tpm,
        entry.tpm,
        entry.interval ? entry.interval.low_tpm : "",
        entry.interval ? entry.interval.high_tpm : "",
        answer.intervals ? answer.intervals.coverage : "",
        from.version,
        from.model_digest,
        from.simulated,
      ].join(","),
    ),
  );
  return [head, ...lines, ""].join("\r\n");
}
