// Candles over a span of days, of a stock or an instrument: buttons, two dates, and the chart.

import { ask, DAY_MS, day, note } from "/static/ask.js";
import { draw } from "/static/chart.js";

// `words(answer)` is what stands above the chart, and `unit(answer)` the length of a candle.
export function candles(path, words, unit) {
  const start = document.getElementById("start"), end = document.getElementById("end");
  const buttons = [...document.querySelectorAll("#spans button")];
  let asked = 0;
  let first = "", last = "";

  async function show(from = "", until = "") {
    const number = ++asked;
    note("chart-note", "reading …");
    try {
      const answer = await ask(`${path}${path.includes("?") ? "&" : "?"}${new URLSearchParams({ start: from, end: until })}`);
      if (number !== asked) return;
      [first, last] = [answer.first ?? "", answer.last ?? ""];
      [start.value, end.value] = [answer.start ?? "", answer.end ?? ""];
      note("chart-note", words(answer), !answer.candles.length);
      draw(document.getElementById("chart"), answer.candles, unit(answer));
      performance.mark("drawn");
    } catch (error) {
      if (number === asked) note("chart-note", error.message, true);
    }
  }

  function press(pressed) {
    for (const one of buttons) one.setAttribute("aria-pressed", String(one === pressed));
  }

  for (const one of buttons) {
    one.addEventListener("click", () => {
      press(one);
      const days = Number(one.dataset.days);
      if (days && last) show(day(Date.parse(last) - (days - 1) * DAY_MS), last);
      else show(first, last);
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
  press(buttons.find((one) => one.hasAttribute("data-first")));
  show();

  // Draw some days that were chosen elsewhere on the page.
  return (from, until) => {
    press(null);
    show(from, until);
    document.getElementById("chart").scrollIntoView({ block: "center" });
  };
}
