// The front page: the search over all that is loaded, today's problems, and the state of every domain.

import { ask, by, count, day, DAY_MS, element, note, recent, row, STORES, t, trend } from "/static/page.js";

const PAUSE_MS = 120, future = day(Date.now() + 2 * DAY_MS);
const STATES = ["ok", "empty", "provisional", "incomplete", "unsupported", "missing", "stale", "loaded", "waiting", "due", "not_taken", "failed", "open_gaps"];
// What is said of each kind of problem, the worst first.
const PROBLEMS = {
  failed: "Failed in {asset}: {n}.", not_taken: "Files of {asset} that no load takes: {n}.", stale: "Stale partitions of {asset}, of which newer files or rows exist: {n}.",
  missing: "Missing partitions of {asset}: {n}.", due: "New files of {asset} that are not loaded yet: {n}.", disagreements: "Values of {asset} that differ between two sources: {n}.",
  open_gaps: "Open gaps of {asset}: {n}.", quarantine: "Rejected rows of {asset}: {n}.",
};
const KINDS = {
  stocks: { what: "stocks with minute bars", href: (one) => `/stock/${encodeURIComponent(one.code)}`, texts: (one) => [one.code, one.name, `${one.first} – ${one.last}`] },
  instruments: {
    what: "instruments of exchanges",
    href: (one) => `/instrument?${new URLSearchParams({ exchange: one.exchange, market_type: one.market_type, instrument: one.instrument })}`,
    texts: (one) => [one.instrument, `${one.exchange} ${one.market_type}`, [one.bars && "bars", one.books && "books"].filter(Boolean).map((name) => t(name)).join(", ")],
  },
  symbols: { what: "symbols of ticks", href: (one) => `/symbol/${encodeURIComponent(one.code)}`, texts: (one) => [one.code, one.name, t(one.status)] },
};
const search = by("search"), problems = [];

const DOMAINS = [...document.querySelectorAll(".domain")].map(({ id }) => id);
let asked = 0, waiting, left = Object.keys(STORES).length + DOMAINS.length;

async function find(kind, number) {
  const text = search.value.trim(), { what, href, texts } = KINDS[kind];
  const answer = await ask(`/api/${kind}?q=${encodeURIComponent(text)}`).catch((error) => ({ error: `${t(what)}: ${error.message}` }));
  if (number !== asked) return;
  const shown = (text && answer.found) || [];
  const found = answer.more ? "the first {n} of many, of {of} {what}" : text ? "{n} found, of {of} {what}" : "{of} {what}";
  note(`${kind}-note`, answer.error ?? t(found, { n: shown.length, of: count(answer.of), what: t(what) }), Boolean(answer.error));
  by(kind).replaceChildren(...shown.map((one) => {
    const [name, other, more] = texts(one);
    return element("li", {}, element("a", { href: href(one) }, element("b", {}, name), element("span", {}, other), element("span", { class: "note" }, more)));
  }));
}

const findAll = () => { asked += 1; for (const kind of Object.keys(KINDS)) find(kind, asked); };

// A sentence in the list of problems, and, when nothing is awaited any more, that there is none.
function problem(rank, sentence, href, command) {
  problems.push([rank, element("li", { class: rank < 2 ? "bad" : "warn" }, element("a", { href }, sentence), " ", element("code", {}, `marketdata ${command}`))]);
  by("problems").replaceChildren(...problems.sort(([one], [other]) => one - other).map(([, made]) => made));
}

function answered() {
  left -= 1;
  if (!left) note("problems-note", problems.length ? t("Things that need attention: {n}.", { n: problems.length }) : t("Nothing needs attention."));
}

async function server(name) {
  const made = by("servers").appendChild(element("li", { id: name }, `${STORES[name]} `, element("span", { class: "note" }, t("asking …"))));
  try {
    const { version, ms } = await ask(`/api/servers/${name}`);
    made.lastChild.replaceWith(element("span", { class: "badge good" }, t("answers")), ` ${version}, ${count(ms)} ms`);
  } catch (error) {
    made.lastChild.replaceWith(element("span", { class: "badge bad" }, t("no answer")), ` ${error.message}`);
    problem(0, `${STORES[name]}: ${error.message}`, "#servers", "doctor");
  }
  answered();
}

async function state(domain) {
  const card = by(domain), [, badge] = card.children[0].children, body = card.querySelector(".facts");
  const say = (kind, words, ...text) => { badge.className = `badge ${kind}`; badge.textContent = t(words); body.replaceChildren(...text); };
  try {
    const { assets, problems: wrong, note: why } = await ask(`/api/status/${domain}`, { long: true });
    const sum = (name) => assets.reduce((total, one) => total + (one[name] ?? 0), 0);
    const late = sum("missing") + sum("stale") + sum("due"), newest = assets.map((one) => one.newest).filter((one) => one && one < future).sort().at(-1);
    const stored = assets.filter((one) => one.counted && (one.rows || one.documents));
    const rows = stored.reduce((total, one) => total + (one.rows ?? one.documents ?? 0), 0), tables = new Set(stored.map((one) => one.asset)).size;
    const counted = t(domain === "alphas" ? "{rows} alphas" : tables > 1 ? "{rows} rows of {n} tables" : "{rows} rows", { rows: count(rows), n: tables });
    if (!assets.length) say("", "empty", why ?? t("Nothing is loaded yet."));
    else say(sum("failed") ? "bad" : late ? "warn" : "good", sum("failed") ? "failed" : late ? "late" : "fresh", element("b", {}, counted), element("div", {}, `${t("newest")} ${newest ?? "–"}`));
    for (const { state, asset, count: n, command } of wrong) {
      problem(Object.keys(PROBLEMS).indexOf(state) + 1, t(PROBLEMS[state], { n: count(n), asset }), `/quality?domain=${domain}`, command);
    }
    by("assets").append(element("tbody", {}, ...assets.map((one) => row([
      t(domain), one.account ? `${one.asset} (${one.account})` : one.asset, [STATES.filter((name) => one[name]).map((name) => `${count(one[name])} ${t(name.replace("_", " "))}`).join(", "), one.failed || one.missing || one.stale ? "bad" : ""],
      [count(one.rows ?? one.documents ?? one.files), "number"], one.newest, [count(one.quarantine), one.quarantine ? "number bad" : "number"],
    ]))));
  } catch (error) {
    say("bad", "no answer", error.message);
  }
  answered();
}

// The rows of the last months, or of exchanges days, of each domain that a server has.
async function rows(store) {
  const { periods } = await ask(`/api/quality/${store}`, { long: true }).catch(() => ({ periods: [] }));
  for (const [domain, list] of Map.groupBy(periods.filter((one) => one.counted), (one) => one.domain)) {
    const last = list.map((one) => one.period).sort().at(-1), what = t(last.length > 7 ? "rows by day until {last}" : "rows by month until {last}", { last });
    by(domain)?.querySelector(".trend").replaceChildren(trend(list, what), element("span", { class: "note" }, what));
  }
}

search.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(findAll, PAUSE_MS);
});
search.addEventListener("keydown", ({ key }) => key === "Enter" && document.querySelector("#found li a")?.click());
by("recent").replaceChildren(...recent().map((one) => element("a", { href: one.href, class: "chip" }, one.name)));
findAll();
for (const name of Object.keys(STORES)) { server(name); rows(name); }
for (const domain of DOMAINS) state(domain);
