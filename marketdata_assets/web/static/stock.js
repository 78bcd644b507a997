// The page of a stock, and that of a symbol of ticks: candles from its sources, and the months of its minutes.

import { ask, attempt, by, count, element, note, row, t, title } from "/static/page.js";
import { chart, MINUTES } from "/static/chart.js";

const code = decodeURIComponent(location.pathname.split("/").pop()), stock = `/api/stocks/${encodeURIComponent(code)}`;
const ofTicks = location.pathname.startsWith("/symbol/");
const abroad = !/\.(SH|SZ|BJ)$/.test(code), perDay = code.includes(".") ? (abroad ? 510 : 245) : 1440;
const facts = ask(ofTicks ? `/api/symbols/${encodeURIComponent(code)}` : `${stock}/coverage`);
let currency = "";
facts.then((answer) => { currency = answer.currency; }, () => {});
const suspended = ask(`${stock}/suspensions`).then(({ days }) => new Set(days), () => new Set());

function path(freq, start, end) {
  const [source, adjust] = by("source").value.split(" ");
  return `${stock}/candles?${new URLSearchParams({ source, adjust, freq, start, end })}`;
}

function words({ candles, step }) {
  if (candles.length && abroad) return t("Prices in {currency}, {adjust}; times of the exchange.", { currency, adjust: by("source").selectedOptions[0].text });
  if (candles.length) return t("Prices in yuan, {adjust}, volume in shares; times of the exchange.", { adjust: by("source").selectedOptions[0].text });
  return t(step === "1mo" ? "The K-line has no months of it: run “marketdata kline refresh”." : "No bars in these days.");
}

// Trading days without a minute, where the source is that of the coverage, and those on which the stock was suspended, as times of the chart.
async function marks(freq, first, last) {
  if (freq === "1w" || freq === "1mo") return [];
  const none = !by("source").value.startsWith(ofTicks ? "ticks" : "minutes") ? [] : (await facts).months.flatMap((one) => one.none.map((number) => `${one.month}-${String(number).padStart(2, "0")}`));
  const why = new Map([...none.map((one) => [one, "none"]), ...[...await suspended].map((one) => [one, "suspended"])]);
  return [...why].filter(([one]) => one >= first && one <= last).map(([one, reason]) => [Date.parse(freq === "1d" ? one : `${one}T09:30Z`) / 1000, reason]);
}

// What a month of ticks has beside its minutes.
function more(month) {
  const mark = [month.provisional.length && "p", month.incomplete.length && "i", month.outcome === "failed" && "!"].filter(Boolean).join("");
  const states = ["provisional", "incomplete", "unsupported"].map((state) => days(state, month[state])).join("");
  return { mark: mark && ` ${mark}`, title: `${states}${month.outcome === "failed" ? `\n${t("failed")}: ${month.error}` : ""}` };
}

function load(month) {
  const facts = {
    outcome: month.outcome ?? t("no load is on record"), provider: month.provider, "loaded (UTC)": month.finished,
    "rejected rows": month.rejected && count(month.rejected), "provisional days": month.provisional.join(", "), "incomplete days": month.incomplete.join(", "),
    "days without a source": month.unsupported.join(", "), "trading days without minutes": month.none.join(", "), "days with fewer minutes": month.few.join(", "), error: month.error,
  };
  by("load").caption.textContent = month.month;
  by("load").tBodies[0].replaceChildren(...Object.entries(facts).filter(([, value]) => value).map(([name, value]) => row([t(name), value])));
  by("load").hidden = false;
}

function ticks({ status, months, others }) {
  const total = (name) => months.reduce((sum, one) => sum + one[name].length, 0), failed = months.filter((one) => one.outcome === "failed").length;
  by("status").textContent = t(status ?? "");
  note("final-note", t("{provisional} days are provisional, {incomplete} incomplete; the last load of {failed} months failed", { provisional: total("provisional"), incomplete: total("incomplete"), failed }), failed > 0);
  by("others").tBodies[0].replaceChildren(...Object.entries(others).map(([table, one]) => row([table, [count(one.rows), "number"], one.first, one.last])));
}

// The months as a grid of years, coloured by the share of the expected minutes that are loaded; `more(month)` adds to what a cell
// shows and says: { mark, title }. `choose(month)` is called for one that is pressed.
function grid(table, months, choose, more = () => ({})) {
  const numbers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
  table.tHead.replaceChildren(row(["", ...numbers], "th"));
  table.tBodies[0].replaceChildren(...[...Map.groupBy(months, (one) => one.month.slice(0, 4))].map(([year, some]) => {
    const cells = numbers.map((number) => some.find((one) => Number(one.month.slice(5)) === number)).map((one) => one && cell(one, more(one), choose));
    const line = row(["", ...cells]);
    line.cells[0].replaceWith(element("th", {}, year));
    return line;
  }));
  table.hidden = false;
}

function summary(months) {
  const total = (number) => count(months.reduce((sum, one) => sum + number(one), 0));
  return t("{loaded} minutes in {months} months; of {expected} expected minutes {missing} are missing: {none} trading days have none, {few} fewer than usual", {
    months: months.length, loaded: total((one) => one.loaded), expected: total((one) => one.expected), missing: total((one) => one.missing),
    none: total((one) => one.none.length), few: total((one) => one.few.length),
  });
}

const days = (what, list) => (list.length ? `\n${t(what)}: ${list.join(", ")}` : "");

function cell(month, { mark = "", title = "" }, choose) {
  const share = month.expected ? 1 - month.missing / month.expected : 1;
  const level = share <= 0 ? 0 : share >= 1 ? 4 : share >= 0.95 ? 3 : share >= 0.5 ? 2 : 1;
  const lacks = t("{month}: {loaded} minutes, {missing} of {expected} missing", month);
  const made = element("button", { type: "button", class: `cell level${level}`, title: `${lacks}${days("days without", month.none)}${days("days with fewer", month.few)}${title}` }, `${month.loaded}${mark}`);
  made.addEventListener("click", () => choose(month));
  return made;
}

title(code);
const { go, again } = chart({ path, perDay, words, marks });
by("source").addEventListener("change", () => {
  const daily = by("source").value.startsWith("daily");
  for (const one of document.querySelectorAll("#lengths button")) one.disabled = daily && one.value in MINUTES;
  again(document.querySelector("#lengths :disabled[aria-pressed=true]") ? "1d" : undefined);
});
attempt("coverage-note", async () => {
  const answer = await facts;
  if (answer.code !== code) return location.replace(encodeURIComponent(answer.code));
  title(code, answer.name);
  note("coverage-note", summary(answer.months));
  if (ofTicks) ticks(answer);
  grid(by("coverage"), answer.months, (month) => {
    go(`${month.month}-01`);
    if (ofTicks) load(month);
    else by("chart").scrollIntoView({ block: "center" });
  }, ofTicks ? more : undefined);
});
