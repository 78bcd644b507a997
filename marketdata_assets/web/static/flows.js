// Flows: their files and last loads; of the one that is chosen, rows of its table and what was rejected. What is below
// a table is shown when that is filled, so that nothing moves.

import { ask, attempt, by, count, element, note, row, t } from "/static/page.js";

const flow = new URLSearchParams(location.search).get("flow");
const bad = (number) => [count(number), number ? "number bad" : "number"];
const fill = (id, rows) => by(id).tBodies[0].replaceChildren(...rows);

const link = (name) => element("a", { href: `/flows?flow=${encodeURIComponent(name)}`, ...(name === flow && { "aria-current": "true" }) }, name);

function last(loads) {
  fill("loads", loads.map((one) => row([
    one.finished, link(one.flow), one.file, [t(one.outcome), one.outcome === "failed" ? "bad" : ""], [count(one.read), "number"], [count(one.rows), "number"], bad(one.rejected), one.error,
  ])));
  by("last").hidden = false;
  note("loads-note", t(loads.length ? "The last {n} files, the newest first." : "Nothing is loaded yet.", { n: loads.length }));
}

const listed = ask("/api/flows");
attempt("flows-note", async () => {
  const { flows, loads } = await listed;
  fill("flows", flows.map((one) => row([
    link(one.name), one.error ? [one.error, "bad"] : one.table, one.mode, [count(one.files), "number"], bad(one.failed), [count(one.rows), "number"], bad(one.rejected), one.finished,
  ])));
  note("flows-note", t("{n} flows", { n: flows.length }));
  if (!flow) last(loads);
}).finally(() => { by("flow").hidden = false; });

if (flow) attempt("flow-note", async () => {
  by("title").textContent = document.title = flow;
  note("flow-note", t("reading …"));
  const { columns, table, rows, rejected, loads } = await ask(`/api/flows/${encodeURIComponent(flow)}`);
  const numeric = Object.values(columns).map((type) => /^(numeric|integer|bigint|double|float|int)/.test(type));
  by("rows").tHead.replaceChildren(row(Object.keys(columns).map((name, at) => [name, numeric[at] ? "number" : ""]), "th"));
  fill("rows", rows.map((values) => row(values.map((value, at) => [value, numeric[at] ? "number" : ""]))));
  fill("rejected", rejected.map((one) => row([one.file, [count(one.line), "number"], one.reason, element("code", {}, one.raw)])));
  by("rows").hidden = !rows.length;
  by("rejected").hidden = !rejected.length;
  last(loads);
  const { flows } = await listed, all = flows.find((one) => one.name === flow) ?? {}, lost = !table && all.rows > 0;
  const shown = { rows: count(rows.length), of: count(all.rows), rejected: count(rejected.length), all: count(all.rejected) };
  note("flow-note", t(lost ? "Its table is gone: the next run loads its {of} rows again." : "{rows} of its {of} rows, {rejected} of its {all} rejected rows", shown), lost);
});
