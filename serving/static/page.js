"use strict";

const byId = (name) => document.getElementById(name);

async function describeModel() {
  const response = await fetch("/v1/model");
  const model = await response.json();
  if (!response.ok) {
    byId("model").textContent = model.error;
    return;
  }
  const data = model.simulated ? "simulated data" : "measured data";
  byId("model").textContent =
    `Model ${model.version}, trained on ${data}; ${model.tissues.length} tissues; reads ${model.modalities.join(", ")}; ` +
    `DNA window ${model.limits.window_bp.toLocaleString()} bp; ` +
    (model.reference ? "a reference is mounted." : "no reference is mounted: send sequences.");
}

function cell(text) {
  const element = document.createElement("td");
  element.textContent = text;
  return element;
}

function show(answer) {
  const item = answer.items[0];
  const largest = Math.max(1e-9, ...item.expression.map((entry) => entry.log1p_tpm));
  byId("rows").replaceChildren(
    ...item.expression.map((entry) => {
      const row = document.createElement("tr");
      const tissue = document.createElement("th");
      tissue.scope = "row";
      tissue.textContent = entry.tissue;
      const bar = document.createElement("meter");
      bar.max = largest;
      bar.value = Math.max(entry.log1p_tpm, 0);
      bar.ariaLabel = `${entry.tissue}: ${entry.tpm.toFixed(2)} TPM`;
      const last = document.createElement("td");
      last.append(bar);
      row.append(tissue, cell(entry.log1p_tpm.toFixed(3)), cell(entry.tpm.toFixed(2)), last);
      return row;
    }),
  );
  byId("notes").replaceChildren(
    ...item.notes.map((note) => {
      const element = document.createElement("li");
      element.textContent = `${note.field}: ${note.message}`;
      return element;
    }),
  );
  const from = answer.provenance;
  byId("provenance").textContent =
    `Model digest ${from.model_digest}, data set ${from.dataset_version}` + (from.simulated ? " (simulated)." : ".");
  byId("answer").hidden = false;
}

async function ask(event) {
  event.preventDefault();
  byId("problem").textContent = "";
  const item = {};
  for (const name of ["id", "dna", "rna", "protein"]) {
    const value = byId(name).value.trim();
    if (value) item[name] = value;
  }
  try {
    const response = await fetch("/v1/predict", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ items: [item] }),
    });
    const answer = await response.json();
    if (response.ok) {
      show(answer);
    } else {
      const details = answer.details.map((detail) => `${detail.field}: ${detail.message}`);
      byId("problem").textContent = [answer.error, ...details].join("\n");
      byId("answer").hidden = true;
    }
  } catch (error) {
    byId("problem").textContent = `The server does not answer (${error.message}).`;
  }
}

byId("ask").addEventListener("submit", ask);
describeModel();
