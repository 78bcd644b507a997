// The front page: the search, and the state of the tables.

import { ask, element, note } from "/static/ask.js";

const PAUSE_MS = 120;
const search = document.getElementById("search");
let asked = 0;
let waiting;

async function find() {
  const number = ++asked;
  const text = search.value.trim();
  try {
    const answer = await ask(`/api/stocks?q=${encodeURIComponent(text)}`);
    if (number !== asked) return;
    const shown = text ? answer.stocks : [];
    const count = answer.more ? `the first ${shown.length} of many` : `${shown.length} found`;
    note("found-note", text ? `${count}, of ${answer.of} stocks` : `${answer.of} stocks have minute bars`);
    document.getElementById("found").replaceChildren(...shown.map(row));
  } catch (error) {
    if (number === asked) note("found-note", error.message, true);
  }
}

function row(stock) {
  const link = element("a", { href: `/stock/${encodeURIComponent(stock.code)}` });
  link.append(element("span", {}, stock.code), element("span", {}, stock.name ?? ""));
  link.append(element("span", { class: "note" }, `${stock.first} – ${stock.last}`));
  const item = element("li");
  item.append(link);
  return item;
}

async function state() {
  try {
    const { tables } = await ask("/api/state");
    const table = document.getElementById("state");
    table.hidden = tables.length === 0;
    note("state-note", tables.length ? "" : "Nothing is loaded yet. Load files with “marketdata ingest bars”.");
    table.tBodies[0].replaceChildren(...tables.map(line));
  } catch (error) {
    note("state-note", error.message, true);
  }
}

function line(one) {
  const made = element("tr");
  const bad = (count) => (count ? "number bad" : "number");
  made.append(
    element("td", {}, one.table),
    element("td", { class: "number" }, one.rows.toLocaleString("en")),
    element("td", { class: "number" }, `${one.parts.toLocaleString("en")} ${one.unit}`),
    element("td", {}, one.last ?? ""),
    element("td", { class: bad(one.failed) }, one.failed.toLocaleString("en")),
    element("td", { class: bad(one.quarantined) }, one.quarantined.toLocaleString("en")),
  );
  return made;
}

search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(find, PAUSE_MS);
});
find();
state();
