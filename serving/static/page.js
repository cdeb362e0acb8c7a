"use strict";

const MAX_COMPARED = 6;
const byId = (name) => document.getElementById(name);
let shown = null;

function headers() {
  const key = byId("key").value.trim();
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

async function ask(path, body) {
  const response = await fetch(path, {
    headers: headers(),
    ...(body ? { method: "POST", body: JSON.stringify(body) } : {}),
  });
  const answer = await response.json();
  if (response.ok) return answer;
  const details = (answer.details || []).map((detail) => `${detail.field}: ${detail.message}`);
  throw new Error([answer.error, ...details].join("\n"));
}

// One question at a time: busy while it runs, a problem where it fails.
async function during(words, work) {
  byId("problem").textContent = "";
  byId("busy").textContent = words;
  const buttons = document.querySelectorAll("button");
  buttons.forEach((button) => (button.disabled = true));
  try {
    await work();
  } catch (error) {
    byId("problem").textContent = error instanceof TypeError ? "The server does not answer." : error.message;
  } finally {
    buttons.forEach((button) => (button.disabled = false));
    byId("busy").textContent = "";
  }
}

async function describeModel() {
  try {
    const model = await ask("/v1/model");
    const data = model.simulated ? "simulated data" : "measured data";
    byId("model").textContent =
      `Model ${model.version}, trained on ${data}; ${model.tissues.length} tissues; ` +
      `reads ${model.modalities.join(", ")}; DNA window ${model.limits.window_bp.toLocaleString("en")} bp.`;
    byId("pick").hidden = !model.reference;
  } catch (error) {
    byId("model").textContent = error.message;
  }
}

async function listIsoforms(event) {
  event.preventDefault();
  const gene = byId("gene").value.trim();
  await during("Looking for the gene…", async () => {
    const { transcripts } = await ask(`/v1/transcripts?gene=${encodeURIComponent(gene)}`);
    byId("isoforms").hidden = !transcripts.length;
    if (!transcripts.length) throw new Error(`No gene or transcript ${gene} in the mounted reference.`);
    byId("isoforms-of").textContent = `Transcripts of ${transcripts[0].gene_name || transcripts[0].gene_id}`;
    const choices = transcripts.map((transcript, place) => {
      const box = element("input", undefined, { type: "checkbox", value: transcript.transcript_id });
      box.checked = place === 0 || transcript.transcript_id.startsWith(gene);
      const protein = transcript.protein_residues ? `${transcript.protein_residues} residues` : "no protein";
      const label = element("label");
      label.append(box, ` ${transcript.transcript_id}, ${transcript.transcript_type}, ${transcript.rna_nt} nt, ${protein}`);
      return label;
    });
    byId("choices").replaceChildren(...choices);
  });
}

async function predictChosen() {
  const chosen = [...document.querySelectorAll("#choices input:checked")].map((box) => box.value);
  await during("Predicting…", async () => {
    if (!chosen.length) throw new Error("Choose at least one transcript.");
    if (chosen.length > MAX_COMPARED) throw new Error(`Choose at most ${MAX_COMPARED} transcripts.`);
    show(await ask("/v1/predict", { items: chosen.map((id) => ({ id })) }), chosen);
  });
}

async function predictPasted(event) {
  event.preventDefault();
  const item = {};
  for (const name of ["dna", "rna", "protein"]) {
    // FASTA: the header lines go, further records would be read as one sequence, so they are refused.
    const lines = byId(name).value.split("\n");
    if (lines.filter((line) => line.startsWith(">")).length > 1) {
      byId("problem").textContent = `${name}: paste one FASTA record, not several.`;
      return;
    }
    const value = lines.filter((line) => !line.startsWith(">")).join("\n").trim();
    if (value) item[name] = value;
  }
  await during("Predicting…", async () => {
    if (!Object.keys(item).length) throw new Error("Paste at least one sequence.");
    show(await ask("/v1/predict", { items: [item] }), [`pasted (${Object.keys(item).join(" + ")})`]);
  });
}

function show(answer, names) {
  shown = { answer, names };
  byId("simulated").hidden = !answer.provenance.simulated;
  const intervals = answer.intervals;
  byId("method").textContent = intervals
    ? `In brackets: where the measured value is expected in ${Math.round(100 * intervals.coverage)} % of cases ` +
      `(${intervals.method}, ${intervals.unit}).`
    : "This model has no calibrated intervals.";
  byId("caption").textContent = "Transcripts per million (TPM); bars show log1p TPM on one scale.";
  const several = names.length > 1;
  const notes = answer.items.flatMap((item, place) =>
    [...item.notes, ...item.out_of_distribution].map((note) =>
      element("li", `${several ? names[place] + ", " : ""}${note.field}: ${note.message}`),
    ),
  );
  byId("notes").replaceChildren(...notes);
  byId("columns").replaceChildren(
    ...["Tissue", ...names].map((name) => element("th", name, { scope: "col" })),
  );
  drawRows();
  const from = answer.provenance;
  byId("provenance").textContent =
    `Model ${from.version}, digest ${from.model_digest}, data set ${from.dataset_version}` +
    (from.simulated ? " (simulated)." : ".");
  byId("answer").hidden = false;
  byId("answer").classList.toggle("alone", !several);
  byId("answer-title").focus();
}

function drawRows() {
  byId("rows").replaceChildren(...tableRows(shown.answer.items, byId("order").value));
}

function download() {
  const link = element("a", "", {
    download: "isoformer.csv",
    href: URL.createObjectURL(new Blob([csvOf(shown.answer, shown.names)], { type: "text/csv" })),
  });
  link.click();
  URL.revokeObjectURL(link.href);
}

byId("pick").addEventListener("submit", listIsoforms);
byId("compare").addEventListener("click", predictChosen);
byId("paste").addEventListener("submit", predictPasted);
byId("order").addEventListener("change", drawRows);
byId("download").addEventListener("click", download);
byId("key").addEventListener("change", describeModel);
describeModel();
