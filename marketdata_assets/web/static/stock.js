// The page of a stock: its candles over a span of days, and the months of its minutes.

import { ask, element, note } from "/static/ask.js";
import { draw } from "/static/chart.js";

const DAY_MS = 86_400_000;
const code = decodeURIComponent(location.pathname.split("/").pop());
const start = document.getElementById("start"), end = document.getElementById("end");
const buttons = [...document.querySelectorAll("#spans button")];
const STEPS = { "1m": "minutes", "5m": "5 minutes", "30m": "half hours", "1d": "days", "1mo": "months" };
let asked = 0;
let last = "";

async function show(first = "", until = "") {
  const number = ++asked;
  note("chart-note", "reading …");
  try {
    const span = new URLSearchParams({ start: first, end: until });
    const answer = await ask(`/api/stocks/${encodeURIComponent(code)}/candles?${span}`);
    if (number !== asked) return;
    last = answer.last;
    [start.value, end.value] = [answer.start, answer.end];
    const none = answer.step === "1mo" ? "The K-line has no months of it: run “marketdata kline refresh”." : "No bars in these days.";
    const many = `${answer.candles.length} candles of ${STEPS[answer.step]}, prices in yuan adjusted forward, volume in shares; red rises, green falls`;
    note("chart-note", answer.candles.length ? many : none, !answer.candles.length);
    draw(document.getElementById("chart"), answer.candles, STEPS[answer.step]);
    performance.mark("drawn");
  } catch (error) {
    if (number === asked) note("chart-note", error.message, true);
  }
}

function press(pressed) {
  for (const one of buttons) one.setAttribute("aria-pressed", String(one === pressed));
}

async function coverage() {
  try {
    const { months, name } = await ask(`/api/stocks/${encodeURIComponent(code)}/coverage`);
    document.getElementById("title").textContent = name ? `${code} ${name}` : code;
    document.title = document.getElementById("title").textContent;
    const total = (count) => months.reduce((sum, one) => sum + count(one), 0).toLocaleString("en");
    const minutes = `${total((one) => one.loaded)} minutes in ${months.length} months; of ${total((one) => one.expected)} expected minutes ${total((one) => one.missing)} are missing`;
    note("coverage-note", `${minutes}: ${total((one) => one.none.length)} trading days have none, ${total((one) => one.few.length)} fewer than usual`);
    grid(months);
  } catch (error) {
    note("coverage-note", error.message, true);
  }
}

function grid(months) {
  const table = document.getElementById("coverage");
  const head = element("tr");
  head.append(element("th"), ...Array.from({ length: 12 }, (_, number) => element("th", {}, String(number + 1))));
  table.tHead.replaceChildren(head);
  const years = Map.groupBy(months, (one) => one.month.slice(0, 4));
  table.tBodies[0].replaceChildren(...[...years].map(([year, ofYear]) => {
    const line = element("tr");
    line.append(element("th", {}, year));
    for (let number = 1; number <= 12; number++) {
      const cell = element("td");
      const month = ofYear.find((one) => Number(one.month.slice(5)) === number);
      if (month) cell.append(button(month));
      line.append(cell);
    }
    return line;
  }));
  table.hidden = false;
}

function button(month) {
  const share = month.expected ? 1 - month.missing / month.expected : 1;
  const level = share <= 0 ? 0 : share >= 1 ? 4 : share >= 0.95 ? 3 : share >= 0.5 ? 2 : 1;
  const days = (what, list) => (list.length ? `\n${what}: ${list.join(", ")}` : "");
  const title = `${month.month}: ${month.loaded} minutes, ${month.missing} of ${month.expected} missing${days("days without", month.none)}${days("days with fewer", month.few)}`;
  const made = element("button", { class: `cell level${level}`, title }, String(month.loaded));
  made.addEventListener("click", () => {
    press(null);
    show(`${month.month}-01`, new Date(Date.UTC(month.month.slice(0, 4), month.month.slice(5), 0)).toISOString().slice(0, 10));
    document.getElementById("chart").scrollIntoView({ block: "center" });
  });
  return made;
}

for (const one of buttons) {
  one.addEventListener("click", () => {
    press(one);
    const days = Number(one.dataset.days);
    show(days && last ? new Date(Date.parse(last) - (days - 1) * DAY_MS).toISOString().slice(0, 10) : "");
  });
}
for (const one of [start, end]) {
  one.addEventListener("change", () => {
    if (start.value && end.value) {
      press(null);
      show(start.value, end.value);
    }
  });
}
document.getElementById("title").textContent = document.title = code;
press(buttons.at(-1));
show();
coverage();
