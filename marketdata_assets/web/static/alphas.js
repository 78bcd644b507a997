// Alphas: a table that sorts and filters, and of those that are chosen the PnL in one chart and their correlations.

import { ask, attempt, by, count, element, note, row, t } from "/static/page.js";
import { canvas, redrawn } from "/static/chart.js";

const SHOWN = 200, MOST = 8, NUMBERS = ["sharpe", "fitness", "turnover", "returns", "drawdown", "delay"];
const library = globalThis.LightweightCharts, address = new URLSearchParams(location.search);
let chosen = new Set([...address.getAll("id"), ...(address.get("ids") ?? "").split(",")].filter(Boolean));
let columns = [], alphas = [], stored = 0, listed = "", order = ["sharpe", -1], asked = 0, left = -1, view, looks = () => {};

const plain = (one) => (one ?? "").normalize("NFKC").toLowerCase();
const key = ({ account, id }) => (account ? `${account}/${id}` : id);
const text = (name, value) => (value === null ? "" : NUMBERS.includes(name) && name !== "delay" ? value.toFixed(name === "turnover" ? 3 : 2) : `${value}`);

function head() {
  const at = [...by("alphas").tHead.querySelectorAll("button")].indexOf(document.activeElement);
  by("alphas").tHead.replaceChildren(row(["", ...columns.map((name) => {
    const sorted = order[0] === name, button = element("button", { type: "button" }, t(name), sorted ? (order[1] > 0 ? " ↑" : " ↓") : "");
    button.addEventListener("click", () => { order = [name, sorted ? -order[1] : NUMBERS.includes(name) ? -1 : 1]; show(); });
    const cell = element("th", { class: NUMBERS.includes(name) ? "number" : "" }, button);
    if (sorted) cell.setAttribute("aria-sort", order[1] > 0 ? "ascending" : "descending");
    return cell;
  })], "th"));
  by("alphas").tHead.querySelectorAll("button")[at]?.focus();
}

function wanted() {
  const typed = plain(by("search").value).trim(), [least, most] = [by("least").value, by("most").value];
  const [name, up] = order, empty = (one) => one[name] === null;
  return alphas.filter((one) =>
    ["account", "region", "status"].every((filter) => !by(filter).value || one[filter] === by(filter).value)
    && (!typed || plain(one.id).startsWith(typed) || plain(one.name).includes(typed))
    && (least === "" || (one.sharpe ?? -Infinity) >= Number(least)) && (most === "" || (one.turnover ?? Infinity) <= Number(most)),
  ).sort((one, other) => empty(one) - empty(other) || up * (one[name] < other[name] ? -1 : one[name] > other[name] ? 1 : 0));
}

function show() {
  const found = wanted();
  head();
  by("alphas").tBodies[0].replaceChildren(...found.slice(0, SHOWN).map((one) => {
    const box = element("input", { type: "checkbox", "aria-label": `${t("compare")} ${key(one)}`, ...(chosen.has(key(one)) && { checked: "" }) });
    box.addEventListener("change", () => choose(key(one), box));
    return row([box, ...columns.map((name) => [text(name, one[name]), NUMBERS.includes(name) ? "number" : ""])]);
  }));
  const cut = stored > alphas.length ? `; ${t("of {stored} that are stored the best {n} are read", { stored: count(stored), n: count(alphas.length) })}` : "";
  listed = t(found.length > SHOWN ? "{n} alphas, the first {shown} are shown" : "{n} alphas", { n: count(found.length), shown: SHOWN }) + cut;
  note("alphas-note", listed);
}

function choose(one, box) {
  if (box.checked && chosen.size >= MOST) {
    box.checked = false;
    return note("alphas-note", t("At most {n} alphas are compared; remove one first.", { n: MOST }), true);
  }
  note("alphas-note", listed);
  if (box.checked) chosen.add(one);
  else chosen.delete(one);
  history.replaceState(null, "", chosen.size ? `?${query()}` : location.pathname);
  compare();
}

// An id may have a comma.
const query = () => new URLSearchParams([...chosen].map((one) => ["id", one]));

async function compare() {
  const number = ++asked;
  if (!chosen.size) return draw({ alphas: [], correlations: [], days: [] });
  note("chart-note", t("reading …"));
  await attempt("chart-note", async () => {
    const answer = await ask(`/api/alphas/compared?${query()}`);
    if (number === asked) draw(answer);
  });
}

function draw({ alphas: drawn, correlations, days, least }) {
  const keys = drawn.map(key), names = drawn.map((one, at) => (drawn.filter(({ id }) => id === one.id).length > 1 ? keys[at] : one.id));
  if (keys.some((one) => !chosen.has(one))) { // an id without an account
    chosen = new Set(keys);
    if (columns.length) show();
  }
  const without = drawn.flatMap(({ why }, at) => (why ? `${names[at]}: ${why.replace(/^[^:]+/, (cause) => t(cause))}.` : []));
  const own = (at) => !drawn[at].why && days[at][at] >= least;
  const few = names.flatMap((one, at) => (drawn[at].why ? [] : !own(at) ? [t("{one} has {n} daily returns, fewer than {least}.", { one, n: days[at][at], least })] : names.slice(0, at).flatMap((other, place) => (
    !own(place) || correlations[at][place] !== null ? [] : t(days[at][place] < least ? "{one} and {other} have {n} common days, fewer than {least}." : "{one} or {other} is constant on the common days.", { one: other, other: one, n: days[at][place], least })))));
  note("chart-note", t(names.length ? "Cumulative PnL in USD." : "Choose up to eight alphas in the table."));
  note("reasons", [...without, ...few].join(" "), true);
  by("reasons").hidden = !by("reasons").textContent;
  by("legend").replaceChildren(...names.map((name, at) => {
    const button = element("button", { type: "button", class: `chip series${at}`, "aria-label": `${t("remove")} ${name}` }, element("b", {}, name), " ×");
    button.addEventListener("click", () => { left = at; choose(keys[at], { checked: false }); show(); });
    return button;
  }));
  if (left >= 0) (by("legend").children[Math.min(left, names.length - 1)] ?? by("search")).focus();
  left = -1;
  by("matrix").hidden = names.length < 2;
  by("matrix").tHead.replaceChildren(row(["", ...names], "th"));
  by("matrix").tBodies[0].replaceChildren(...names.map((name, at) => {
    const cells = correlations[at].map((value, other) => element("td", { class: `number ${value >= 0.7 && other !== at ? "bad" : ""}`, title: t("{n} common days", { n: days[at][other] ?? 0 }) }, value?.toFixed(2) ?? "–"));
    return element("tr", {}, element("th", { scope: "row" }, name), ...cells);
  }));
  lines(drawn);
}

// The library draws on a canvas, so colours are looked up; it is drawn anew when the looks change.
function lines(drawn) {
  view?.remove();
  by("chart").replaceChildren();
  by("chart").hidden = !drawn.some((one) => one.days.length);
  looks = () => lines(drawn);
  view = by("chart").hidden ? undefined : canvas(by("chart"))?.view;
  if (view) drawn.forEach((one, at) => {
    const line = view.addSeries(library.LineSeries, { color: getComputedStyle(by("legend").children[at]).color, lineWidth: 2, priceLineVisible: false, priceFormat: { type: "volume" } });
    line.setData(one.days.map((time, place) => (one.pnl[place] === null ? { time } : { time, value: one.pnl[place] })));
  });
  view?.timeScale().fitContent();
}
redrawn(by("chart"), () => looks(), () => view, true);

for (const id of ["search", "account", "region", "status", "least", "most"]) by(id).addEventListener("input", show);
attempt("alphas-note", async () => {
  const answer = await ask("/api/alphas");
  [columns, stored] = [answer.columns, answer.of];
  alphas = answer.rows.map((values) => Object.fromEntries(columns.map((name, at) => [name, values[at]])));
  for (const filter of ["account", "region", "status"]) {
    const values = [...new Set(alphas.map((one) => one[filter]).filter(Boolean))].sort();
    by(filter).replaceChildren(element("option", { value: "" }, t("all")), ...values.map((value) => element("option", { value }, value)));
  }
  show();
  if (!alphas.length) note("alphas-note", t("Nothing is loaded yet."));
});
compare();
