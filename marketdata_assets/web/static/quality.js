// Quality over time: for each dataset the rows of its months or days, and what is wrong with them.

import { ask, count, element, note, row } from "/static/ask.js";
import { columns } from "/static/columns.js";

const STORES = { postgres: "PostgreSQL", clickhouse: "ClickHouse", mongo: "MongoDB" };
const COUNTS = ["rows", "rejected", "failed", "provisional", "incomplete", "gaps", "open_gaps"];
const NAMES = { failed: "failed units", provisional: "provisional days", incomplete: "incomplete days", open_gaps: "open gaps" };
const LISTED = 24;
const domain = document.getElementById("domain");
let periods = [];

function show() {
  const known = [...new Set(periods.map((one) => one.domain))].sort();
  const chosen = domain.value || "all";
  domain.replaceChildren(...["all", ...known].map((name) => element("option", { value: name }, name)));
  domain.value = known.includes(chosen) ? chosen : "all";
  const wanted = periods.filter((one) => domain.value === "all" || one.domain === domain.value);
  const datasets = Map.groupBy(wanted, (one) => `${one.domain}: ${one.dataset}`);
  document.getElementById("datasets").replaceChildren(...[...datasets].sort().map(([name, list]) => dataset(name, list)));
}

function dataset(name, list) {
  const made = element("section");
  const sums = COUNTS.map((one) => [one, list.reduce((sum, period) => sum + (period[one] ?? 0), 0)]).filter(([one, sum]) => sum || one === "rows");
  const facts = sums.map(([one, sum]) => `${count(sum)} ${NAMES[one] ?? one}`).join(", ");
  made.append(element("h2", {}, name), element("p", { class: "note" }, `${facts}; ${list[0].period} to ${list.at(-1).period}`));
  made.append(columns(list.map((one) => ({ label: title(one), height: one.rows ?? one.gaps ?? 0, level: level(one) }))));
  made.append(listed(list, sums.map(([one]) => one)));
  return made;
}

function level(one) {
  return one.failed || one.open_gaps ? 0 : one.rejected || one.provisional || one.incomplete || one.gaps ? 2 : 4;
}

function title(one) {
  const facts = COUNTS.filter((name) => one[name]).map((name) => `${count(one[name])} ${NAMES[name] ?? name}`);
  return `${one.period}: ${facts.join(", ") || "nothing"}`;
}

function listed(list, names) {
  const made = element("details");
  const table = element("table");
  const head = element("thead"), body = element("tbody");
  head.append(row(["period", ...names.map((name) => [NAMES[name] ?? name, "number"])], "th"));
  body.append(...list.slice(-LISTED).reverse().map((one) => row([one.period, ...names.map((name) => {
    const bad = ["failed", "open_gaps", "rejected"].includes(name) && one[name];
    return [count(one[name] ?? 0), bad ? "number bad" : "number"];
  })])));
  table.append(head, body);
  made.append(element("summary", {}, `the last ${Math.min(LISTED, list.length)}`), table);
  return made;
}

async function read(store) {
  try {
    const answer = await ask(`/api/quality/${store}`, { long: true });
    note(store, answer.periods.length ? "" : `${STORES[store]}: nothing is loaded yet`);
    periods = [...periods, ...answer.periods];
    show();
  } catch (error) {
    note(store, `${STORES[store]}: ${error.message}`, true);
  }
}

domain.addEventListener("change", show);
for (const store of Object.keys(STORES)) read(store);
