// The page of an instrument of an exchange: candles with its gaps, its book and trades at an instant, and its recorded gaps.

import { ask, attempt, by, count, DAY_MS, element, note, row, shape, t, title } from "/static/page.js";
import { chart } from "/static/chart.js";

const RUNGS = 15, PAUSE_MS = 150, WIDTH = 600, HEIGHT = 160;
const about = new URLSearchParams(location.search);
const market = new URLSearchParams(["exchange", "market_type", "instrument"].map((name) => [name, about.get(name) ?? ""]));
const at = by("at"), slider = by("slider"), days = by("days"), facts = ask(`/api/instrument?${market}`);
let asked = 0, waiting;

function words({ candles, uncertain, gaps, start, end, step, first, last }) {
  if (!candles.length && gaps?.length) {
    const of = ((Date.parse(end) - Date.parse(start)) / DAY_MS + 1) * (1440 / step);
    return t("No bars in these days: a recorded gap covers {n} of {of} candles.", { n: count(gaps.length), of: count(of) });
  }
  if (!candles.length && first) return t("No bars in these days; there are some from {first} to {last}.", { first, last });
  if (!candles.length) return t("No bars: “marketdata ingest exchanges” computes them from trades, as the asset exchange_ohlcv_1m does.");
  return t("Of trades, times in UTC, volume in base units") + (uncertain ? t("; {n} minutes may lack trades, since a gap is open", { n: count(uncertain) }) : "");
}

async function book(query) {
  const number = ++asked;
  note("book-note", t("reading …"));
  try {
    const answer = await ask(`/api/instrument/book?${market}&${new URLSearchParams(query)}`);
    if (number !== asked) return;
    at.value = answer.at.slice(0, 23);
    days.value = answer.at.slice(0, 10);
    slider.value = (Date.parse(answer.at) % DAY_MS) / 1000;
    slider.setAttribute("aria-valuetext", answer.at.slice(11, 19));
    by("book").classList.toggle("unknown", !answer.known);
    note("book-note", answer.known ? proved(answer) : t("Not known at {at}: {why}.", { at: short(answer.at), why: answer.why }), !answer.known);
    ladder(answer);
    depth(answer);
    performance.mark("book");
    const { trades } = await ask(`/api/instrument/trades?${market}&${new URLSearchParams({ at: answer.at })}`);
    if (number !== asked) return;
    const [ofPrice, ofSize] = ["price", "size"].map((name) => decimals(trades.map((one) => one[name])));
    by("trades").tBodies[0].replaceChildren(...trades.map((one) => row([one.time.slice(11, 23), [padded(one.price, ofPrice), one.side === "buy" ? "number rising" : "number falling"], [padded(one.size, ofSize), "number"], t(one.side)])));
    note("trades-note", trades.length ? "" : t("No trades in the hour before."));
  } catch (error) {
    if (number !== asked) return;
    const without = by("book-note").textContent === t("reading …");
    note(without ? "book-note" : "trades-note", error.message, true);
    if (without) by("book").classList.add("unknown");
  }
}

// Numbers of a column have as many decimals as the longest: their points are below each other.
const decimals = (texts) => Math.max(0, ...texts.map((one) => one.split(".")[1]?.length ?? 0));
const padded = (text, most) => (most ? `${text.split(".")[0]}.${(text.split(".")[1] ?? "").padEnd(most, "0")}` : text);

// Nanoseconds without the zeros at their end.
const short = (time) => time.replace(/\.?0*Z$/, "Z");

function proved({ time, until, last_id: id, bids, asks, unit }) {
  const end = until ? t("valid until {until}", { until: short(until) }) : t("and no change followed while the stream was alive");
  return t("Proven by the records: made at {time}{by}, {end}; {bids} bids and {asks} asks, sizes in {unit}", { time: short(time), by: id === null ? "" : t(" by update {id}", { id }), end, bids: bids.length, asks: asks.length, unit });
}

// The best levels of each side, asks above bids; the bar behind each is the size up to it.
function ladder({ bids, asks }) {
  const best = [bids, asks].map((side) => side.slice(0, RUNGS)), [bid, ask] = best.map(sums);
  const [ofPrice, ofSize] = [0, 1].map((at) => decimals(best.flat().map((level) => level[at])));
  const most = Math.max(1e-12, bid.at(-1)?.[1] ?? 0, ask.at(-1)?.[1] ?? 0);
  const line = (side, name) => side.map(([, sum, price, size]) => {
    const made = row([[padded(price, ofPrice), `number ${name}`], [padded(size, ofSize), "number"], [padded(`${Number(sum.toPrecision(12))}`, ofSize), "number"]]);
    made.className = `rung ${name}`;
    made.style.setProperty("--share", `${(sum / most) * 100}%`);
    return made;
  });
  const spread = bid.length && ask.length ? Number((ask[0][0] - bid[0][0]).toPrecision(6)) : "";
  by("ladder").tBodies[0].replaceChildren(...line(ask, "falling").reverse(), row([[`${t("spread")} ${spread}`, "spread"], "", ""]), ...line(bid, "rising"));
}

// Price and size as numbers, the size of all levels from the best one on, and both as they are on record.
function sums(levels) {
  let sum = 0;
  return levels.map(([price, size]) => [Number(price), (sum += Number(size)), price, size]);
}

function depth({ bids, asks }) {
  const sides = [["rise", sums(bids)], ["fall", sums(asks)]].filter(([, levels]) => levels.length);
  const all = sides.flatMap(([, levels]) => levels), prices = all.map(([price]) => price);
  const low = Math.min(...prices), high = Math.max(...prices), most = Math.max(...all.map(([, sum]) => sum));
  const x = (price) => (((price - low) / (high - low || 1)) * WIDTH).toFixed(1), y = (sum) => (HEIGHT - (sum / (most || 1)) * (HEIGHT - 8)).toFixed(1);
  by("depth").replaceChildren(...sides.map(([name, levels]) => shape("path", { class: name, d: `M${x(levels[0][0])} ${HEIGHT}${levels.map(([price, sum]) => `H${x(price)}V${y(sum)}`).join("")}V${HEIGHT}z` })));
  by("depth-note").textContent = sides.length ? t("{low} to {high}, at most {most}", { low, high, most: count(Number(most.toPrecision(4))) }) : "";
}

function gaps(found) {
  const total = (name) => found.reduce((sum, one) => sum + one[name], 0);
  note("gaps-note", found.length ? t("{n} gaps, {open} of them open. Choose a day.", { n: count(total("gaps")), open: count(total("open")) }) : t("No gap is on record."), total("open") > 0);
  by("gaps").hidden = !found.length;
  by("gaps").tBodies[0].replaceChildren(...found.map((one) => {
    const button = element("button", { type: "button" }, one.day);
    button.addEventListener("click", () => { go(one.day); attempt("gaps-note", () => list(one.day)); });
    return row([button, t(one.lacks), [count(one.gaps), "number"], [count(one.open), one.open ? "number bad" : "number"], [one.seconds.toFixed(1), "number"], one.causes]);
  }));
}

async function list(of) {
  const answer = await ask(`/api/instrument/gaps?${market}&day=${of}`);
  by("day-gaps").caption.textContent = answer.of > answer.gaps.length ? t("{day}: the first {n} of {of} gaps", { day: of, n: answer.gaps.length, of: count(answer.of) }) : of;
  by("day-gaps").tBodies[0].replaceChildren(...answer.gaps.map((one) => row([
    one.began, one.stream, one.cause, [one.seconds.toFixed(1), "number"], one.last_id === null ? "" : `${one.last_id} – ${one.next_id}`, [t(one.open ? "still open" : "closed"), one.open ? "bad" : ""],
  ])));
  by("day-gaps").hidden = false;
}

function move(ms) {
  const time = Date.parse(`${at.value}Z`);
  if (!Number.isNaN(time)) book({ at: new Date(time + ms).toISOString() });
}

title(market.get("instrument"));
for (const one of document.querySelectorAll("button[data-ms]")) one.addEventListener("click", () => move(Number(one.dataset.ms)));
at.addEventListener("change", () => move(0));
days.addEventListener("change", () => book({ day: days.value }));
slider.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => book({ at: new Date(Date.parse(at.value.slice(0, 10)) + slider.value * 1000).toISOString() }), PAUSE_MS);
});
const { go } = chart({ path: (freq, start, end) => `/api/instrument/candles?${market}&${new URLSearchParams({ freq, start, end })}`, perDay: 1440, words });
async function show() {
  const answer = await facts;
  title(answer.instrument, answer.exchange);
  by("status").textContent = `${answer.market_type}, ${answer.symbol}`;
  gaps(answer.gap_days);
  days.replaceChildren(...answer.book_days.map((one) => element("option", { value: one.day }, t("{day}: {n} records", { day: one.day, n: count(one.records) }))));
  if (about.get("at")) book({ at: about.get("at") });
  else if (answer.book_days.length) book({ day: answer.book_days[0].day });
  else { note("book-note", t("No books of it are on record.")); by("book").classList.add("unknown"); }
}
for (const id of ["gaps-note", "book-note"]) attempt(id, id === "gaps-note" ? show : () => facts);
