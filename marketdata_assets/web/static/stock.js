// The page of a stock: its candles over a span of days, and the months of its minutes.

import { ask, day, note } from "/static/ask.js";
import { candles } from "/static/candles.js";
import { grid, summary } from "/static/months.js";

const code = decodeURIComponent(location.pathname.split("/").pop());
const STEPS = { "1m": "minutes", "5m": "5 minutes", "30m": "half hours", "1d": "days", "1mo": "months" };

function words({ candles, step }) {
  if (candles.length) return `${candles.length} candles of ${STEPS[step]}, prices in yuan adjusted forward, volume in shares; red rises, green falls`;
  return step === "1mo" ? "The K-line has no months of it: run “marketdata kline refresh”." : "No bars in these days.";
}

async function coverage(choose) {
  try {
    const { months, name } = await ask(`/api/stocks/${encodeURIComponent(code)}/coverage`);
    document.getElementById("title").textContent = name ? `${code} ${name}` : code;
    document.title = document.getElementById("title").textContent;
    note("coverage-note", summary(months));
    grid(document.getElementById("coverage"), months, { choose });
  } catch (error) {
    note("coverage-note", error.message, true);
  }
}

document.getElementById("title").textContent = document.title = code;
const show = candles(`/api/stocks/${encodeURIComponent(code)}/candles`, words, ({ step }) => STEPS[step]);
coverage(({ month }) => show(`${month}-01`, day(Date.UTC(month.slice(0, 4), month.slice(5), 0))));
