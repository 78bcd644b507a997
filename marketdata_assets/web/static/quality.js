// Quality over time: a calendar for each dataset, months or days by how good their rows are, and the counts behind it.

import { ask, attempt, by, count, day, DAY_MS, element, note, row, STORES, t, trend } from "/static/page.js";

const COUNTS = ["rows", "rejected", "failed", "provisional", "incomplete", "gaps", "open_gaps"];
const NAMES = { failed: "failed units", provisional: "provisional days", incomplete: "incomplete days", open_gaps: "open gaps" };
const LISTED = 24, SIGNS = { 0: "!", 2: "·", 4: "" };
const domain = by("domain");
let periods = [], wish = new URLSearchParams(location.search).get("domain") ?? "all";
const named = (name) => t(NAMES[name] ?? name);

function show() {
  const known = [...new Set(periods.map((one) => one.domain))].sort();
  domain.replaceChildren(...["all", ...known].map((name) => element("option", { value: name }, t(name))));
  domain.value = known.includes(wish) ? wish : "all";
  const wanted = periods.filter((one) => domain.value === "all" || one.domain === domain.value);
  const datasets = Map.groupBy(wanted, (one) => `${t(one.domain)}: ${one.dataset}`);
  by("datasets").replaceChildren(...[...datasets].map(([name, list]) => dataset(name, list)));
}

function dataset(name, list) {
  const units = element("div", { "aria-live": "polite" });
  const sums = COUNTS.map((one) => [one, list.reduce((sum, period) => sum + (period[one] ?? 0), 0)]).filter(([one, sum]) => sum || one === "rows");
  const facts = sums.map(([one, sum]) => `${count(sum)} ${named(one)}`).join(", ");
  const head = element("div", { class: "row" }, element("h2", {}, name), element("div", { class: "trend" }, trend(list, t("rows"))));
  return element("section", { class: "card" }, head, element("p", { class: "note" }, `${facts}; ${list[0].period} – ${list.at(-1).period}`), calendar(list, (one) => showUnits(units, one)), units, listed(list, sums.map(([one]) => one)));
}

// A line for each year with its months, or for each weekday with its weeks; each cell has a colour, a sign and a label.
function calendar(list, choose) {
  const found = new Map(list.map((one) => [one.period, one])), [first, last] = [list[0].period, list.at(-1).period];
  const lines = first.length > 7 ? weekdays(first, last) : years(first, last);
  const body = lines.map(([name, keys]) => element("tr", {}, element("th", { scope: "row" }, name), ...keys.map((key) => square(key, found.get(key), choose))));
  return element("div", { class: "scroll" }, element("table", { class: "calendar" }, element("tbody", {}, ...body)));
}

const range = (first, last) => Array.from({ length: last - first + 1 }, (_, number) => first + number);

function years(first, last) {
  return range(Number(first.slice(0, 4)), Number(last.slice(0, 4))).map((year) => [year, range(1, 12).map((month) => `${year}-${String(month).padStart(2, "0")}`)]);
}

function weekdays(...ends) {
  const weeks = range(...ends.map((one) => Math.floor((Date.parse(one) / DAY_MS + 3) / 7))), at = (week, weekday) => (week * 7 + weekday - 3) * DAY_MS;
  const name = (time) => new Date(time).toLocaleDateString(document.documentElement.lang, { weekday: "short", timeZone: "UTC" });
  return range(0, 6).map((weekday) => [name(at(0, weekday)), weeks.map((week) => day(at(week, weekday)))]);
}

function square(key, one, choose) {
  if (!one) return element("td", {});
  const level = one.failed || one.open_gaps ? 0 : one.rejected || one.provisional || one.incomplete || one.gaps ? 2 : 4;
  const facts = COUNTS.filter((name) => one[name]).map((name) => `${count(one[name])} ${named(name)}`).join(", ");
  const title = `${key}: ${facts || t("nothing")}`, has = one.failed || one.rejected || one.provisional || one.incomplete;
  if (!has) return element("td", { class: `level${level}`, title }, SIGNS[level]);
  const button = element("button", { type: "button", title, "aria-label": title }, SIGNS[level]);
  button.addEventListener("click", () => choose(one));
  return element("td", { class: `level${level}` }, button);
}

// Which units of a period failed, have rejected rows or days that are not final, and why.
async function showUnits(place, { store, domain: group, dataset: name, period }) {
  const says = (...inside) => place.replaceChildren(element("h3", {}, period), ...inside);
  try {
    const { units, more } = await ask(`/api/quality/${store}/${encodeURIComponent(name)}/${period}`);
    const head = element("thead", {}, row([t("unit"), t("state"), [t("rejected rows"), "number"], t("reason"), t("loaded, UTC")], "th"));
    const body = units.map((one) => row([placeOf(name, one), [t(one.outcome), one.outcome === "failed" ? "bad" : ""], [count(one.rejected), "number"], one.error ?? one.days, one.finished]));
    if (units.length) says(element("div", { class: "scroll" }, element("table", {}, head, element("tbody", {}, ...body))), element("p", { class: "note" }, more ? t("These are the first {n} of more.", { n: count(units.length) }) : ""));
    else says(element("p", { class: "note" }, t("The rows that were rejected:"), " ", element("code", {}, `marketdata quarantine show ${group}`)));
  } catch (error) {
    says(element("p", { class: "note error" }, error.message));
  }
}

// A symbol of ticks links to its page.
function placeOf(name, { source, unit }) {
  return name === "tick_data" ? element("a", { href: `/symbol/${encodeURIComponent(source)}` }, source) : source === unit ? unit : `${source}, ${unit}`;
}

function listed(list, names) {
  const last = list.slice(-LISTED).reverse();
  const body = last.map((one) => row([one.period, ...names.map((name) => [count(one[name] ?? 0), ["failed", "open_gaps", "rejected"].includes(name) && one[name] ? "number bad" : "number"])]));
  const head = element("thead", {}, row([t("period"), ...names.map((name) => [named(name), "number"])], "th"));
  const table = element("div", { class: "scroll" }, element("table", {}, head, element("tbody", {}, ...body)));
  return element("details", {}, element("summary", {}, t("the last {n}", { n: last.length })), table);
}

const order = (one) => `${one.domain} ${one.dataset} ${one.period}`;

// What a slower server answers comes below what is there: nothing that one reads moves.
async function read(store) {
  const answer = await ask(`/api/quality/${store}`, { long: true });
  note(store, `${STORES[store]}: ${t(answer.periods.length ? "read" : "Nothing is loaded yet.")}`);
  periods = [...periods, ...answer.periods.map((one) => ({ ...one, store })).toSorted((one, other) => order(one).localeCompare(order(other)))];
  show();
}

domain.addEventListener("change", () => { wish = domain.value; show(); });
for (const store of Object.keys(STORES)) attempt(store, () => read(store).catch((error) => { throw new Error(`${STORES[store]}: ${error.message}`); }));
