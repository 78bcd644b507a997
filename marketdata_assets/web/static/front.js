// The front page: the search over all that is loaded, the servers, and the state of every asset.

import { ask, count, element, note, row } from "/static/ask.js";

const PAUSE_MS = 120;
const STATES = ["ok", "empty", "provisional", "incomplete", "unsupported", "open", "missing", "stale", "loaded", "waiting", "due", "not_taken", "failed"];
const BAD = new Set(["missing", "stale", "failed"]);
const KINDS = {
  stocks: {
    what: "stocks with minute bars",
    href: (one) => `/stock/${encodeURIComponent(one.code)}`,
    texts: (one) => [one.code, one.name ?? "", `${one.first} – ${one.last}`],
  },
  instruments: {
    what: "instruments of exchanges",
    href: (one) => `/instrument?${new URLSearchParams({ exchange: one.exchange, market_type: one.market_type, instrument: one.instrument })}`,
    texts: (one) => [one.instrument, `${one.exchange} ${one.market_type}`, [one.bars && "bars", one.books && "books"].filter(Boolean).join(", ")],
  },
  symbols: {
    what: "symbols of ticks",
    href: (one) => `/symbol/${encodeURIComponent(one.code)}`,
    texts: (one) => [one.code, one.name ?? "", one.status],
  },
};
const search = document.getElementById("search");
let asked = 0;
let waiting;

async function find(kind, number) {
  const text = search.value.trim();
  const [where, list] = document.getElementById(kind).children;
  const say = (words, failed) => { where.textContent = words; where.classList.toggle("error", failed); };
  try {
    const answer = await ask(`/api/${kind}?q=${encodeURIComponent(text)}`);
    if (number !== asked) return;
    const shown = text ? answer.found : [];
    const many = answer.more ? `the first ${shown.length} of many` : `${shown.length} found`;
    say(`${text ? `${many}, of ` : ""}${count(answer.of)} ${KINDS[kind].what}`, false);
    list.replaceChildren(...shown.map((one) => item(KINDS[kind], one)));
  } catch (error) {
    if (number !== asked) return;
    list.replaceChildren();
    say(`${KINDS[kind].what}: ${error.message}`, true);
  }
}

function item({ href, texts }, one) {
  const [name, other, more] = texts(one);
  const link = element("a", { href: href(one) });
  link.append(element("span", {}, name), element("span", {}, other), element("span", { class: "note" }, more));
  const made = element("li");
  made.append(link);
  return made;
}

function findAll() {
  const number = ++asked;
  for (const kind of Object.keys(KINDS)) find(kind, number);
}

async function server(name, store) {
  const line = row([store, "asking …", "", ""]);
  document.querySelector("#servers tbody").append(line);
  try {
    const answer = await ask(`/api/servers/${name}`);
    line.replaceWith(row([store, "answers", answer.version, [count(answer.ms), "number"]]));
  } catch (error) {
    line.replaceChildren(element("td", {}, store), element("td", { colspan: 3, class: "bad" }, error.message));
  }
}

async function assets(domain) {
  const body = element("tbody", { id: domain });
  document.getElementById("assets").append(body);
  const say = (text, name) => {
    const line = row([domain]);
    line.append(element("td", { colspan: 5, class: name }, text));
    body.replaceChildren(line);
  };
  say("reading …", "note");
  try {
    const answer = await ask(`/api/status/${domain}`, { long: true });
    if (answer.assets.length) body.replaceChildren(...answer.assets.map(line));
    else say(answer.note ?? "nothing is loaded yet", "note");
  } catch (error) {
    say(error.message, "bad");
  }
}

function line(one) {
  const states = STATES.filter((state) => one[state]).map((state) => `${count(one[state])} ${state.replace("_", " ")}`);
  const bad = STATES.some((state) => BAD.has(state) && one[state]);
  const rows = one.rows ?? one.documents ?? one.files;
  return row([
    one.group,
    one.account ? `${one.asset} (${one.account})` : one.asset,
    [states.join(", "), bad ? "bad" : ""],
    [count(rows), "number"],
    one.newest ?? "",
    [count(one.quarantine), one.quarantine ? "number bad" : "number"],
  ]);
}

search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(findAll, PAUSE_MS);
});
findAll();
for (const [name, store] of [["postgres", "PostgreSQL"], ["clickhouse", "ClickHouse"], ["mongo", "MongoDB"]]) server(name, store);
for (const domain of ["bars", "reference", "ticks", "exchanges", "alphas", "flows", "reconciliation"]) assets(domain);
