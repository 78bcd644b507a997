// The page of an instrument of an exchange: candles, its order book at an instant, and its recorded gaps.

import { ask, count, element, note, row } from "/static/ask.js";
import { candles } from "/static/candles.js";
import { depth } from "/static/depth.js";

const RUNGS = 20;
const about = new URLSearchParams(location.search);
const market = new URLSearchParams(["exchange", "market_type", "instrument"].map((name) => [name, about.get(name) ?? ""]));
const at = document.getElementById("at"), days = document.getElementById("days");
let asked = 0;

function length(minutes) {
  return minutes >= 1440 ? "days" : minutes >= 60 ? "hours" : minutes > 1 ? `${minutes} minutes` : "minutes";
}

function words({ candles, step, uncertain }) {
  if (!candles.length) return "No bars: “marketdata ingest exchanges” computes them from trades, as the asset exchange_ohlcv_1m does.";
  const gaps = uncertain ? `; ${count(uncertain)} minutes may lack trades, since a gap is open` : "";
  return `${candles.length} candles of ${length(step)} from trades, times in UTC, volume in base units${gaps}`;
}

async function book(query) {
  const number = ++asked;
  note("book-note", "reading …");
  try {
    const answer = await ask(`/api/instrument/book?${market}&${new URLSearchParams(query)}`);
    if (number !== asked) return;
    at.value = answer.at.slice(0, 23);
    days.value = answer.at.slice(0, 10);
    document.getElementById("book").hidden = !answer.known;
    note("book-note", answer.known ? proved(answer) : `Not known at ${short(answer.at)}: ${answer.why}.`, !answer.known);
    if (!answer.known) return;
    ladder(answer);
    depth(document.getElementById("depth"), answer.bids, answer.asks, answer.unit);
    performance.mark("book");
  } catch (error) {
    if (number !== asked) return;
    document.getElementById("book").hidden = true;
    note("book-note", error.message, true);
  }
}

// Nanoseconds without the zeros at their end.
function short(time) {
  return time.replace(/\.?0*Z$/, "Z");
}

function proved({ time, until, last_id, bids, asks, unit }) {
  const end = until ? `until ${short(until)}` : "and no change followed while the stream was alive";
  const id = last_id === null ? "" : ` by update ${last_id}`;
  return `Proven by the records: made at ${short(time)}${id}, valid ${end}; ${bids.length} bids and ${asks.length} asks, sizes in ${unit}`;
}

function ladder({ bids, asks }) {
  const rungs = Math.min(RUNGS, Math.max(bids.length, asks.length));
  document.querySelector("#ladder tbody").replaceChildren(...Array.from({ length: rungs }, (_, rung) => {
    const [bid, bidSize] = bids[rung] ?? ["", ""], [ask, askSize] = asks[rung] ?? ["", ""];
    return row([[bidSize, "number"], [bid, "number rising"], [ask, "number falling"], [askSize, "number"]]);
  }));
}

function gaps(found, choose) {
  const open = found.reduce((sum, one) => sum + one.open, 0);
  note("gaps-note", found.length ? `${count(found.reduce((sum, one) => sum + one.gaps, 0))} gaps, ${count(open)} of them open. Choose a day.` : "No gap is on record.", open > 0);
  const table = document.getElementById("gaps");
  table.hidden = !found.length;
  table.tBodies[0].replaceChildren(...found.map((one) => {
    const line = row(["", one.lacks, [count(one.gaps), "number"], [count(one.open), one.open ? "number bad" : "number"], [one.seconds.toFixed(1), "number"], one.causes]);
    const button = element("button", { type: "button" }, one.day);
    button.addEventListener("click", () => { choose(one.day, one.day); list(one.day); });
    line.cells[0].append(button);
    return line;
  }));
}

async function list(of) {
  try {
    const answer = await ask(`/api/instrument/gaps?${market}&day=${of}`);
    const table = document.getElementById("day-gaps");
    table.caption.textContent = of;
    table.tBodies[0].replaceChildren(...answer.gaps.map((one) => row([
      one.began, one.stream, one.cause, [one.seconds.toFixed(1), "number"],
      one.last_id === null ? "" : `${one.last_id} to ${one.next_id}`, one.open ? ["open", "bad"] : "closed",
    ])));
    table.hidden = false;
  } catch (error) {
    note("gaps-note", error.message, true);
  }
}

async function facts(choose) {
  try {
    const answer = await ask(`/api/instrument?${market}`);
    document.getElementById("title").textContent = document.title = `${answer.instrument} ${answer.exchange}`;
    document.getElementById("status").textContent = `${answer.market_type}, ${answer.symbol}`;
    gaps(answer.gap_days, choose);
    days.replaceChildren(...answer.book_days.map((one) => element("option", { value: one.day }, `${one.day}: ${count(one.records)} records`)));
    if (about.get("at")) book({ at: about.get("at") });
    else if (answer.book_days.length) book({ day: answer.book_days[0].day });
    else note("book-note", "No books of it are on record.");
  } catch (error) {
    for (const id of ["gaps-note", "book-note"]) note(id, error.message, true);
  }
}

function move(ms) {
  const time = Date.parse(`${at.value}Z`);
  if (!Number.isNaN(time)) book({ at: new Date(time + ms).toISOString() });
}

document.getElementById("title").textContent = document.title = market.get("instrument");
for (const one of document.querySelectorAll("button[data-ms]")) one.addEventListener("click", () => move(Number(one.dataset.ms)));
at.addEventListener("change", () => move(0));
days.addEventListener("change", () => book({ day: days.value }));
facts(candles(`/api/instrument/candles?${market}`, words, ({ step }) => length(step)));
