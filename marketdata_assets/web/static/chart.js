// Candles with volume and averages, drawn by the installed library; older and newer ones are read as one scrolls.

import { amount, ask, by, day, DAY_MS, element, note, row, t } from "/static/page.js";

export const MINUTES = { "1m": 1, "5m": 5, "15m": 15, "30m": 30, "60m": 60 };
const AVERAGES = [5, 10, 20, 60], DAYS = { "1d": 1100, "1w": 2500, "1mo": 20_000 };
const SHOWN = 160, PRINTED = 800, LISTED = 20, NEAR = 15, READ = 1900, MOST_EMPTY = 8;
const REASONS = { none: "trading day without data", suspended: "suspended", gap: "recorded gap" };
const library = globalThis.LightweightCharts;
const seconds = (label) => Date.parse(label.length > 10 ? `${label.replace("Z", "")}Z` : label) / 1000;

// An empty chart in a box, the colours of the design by their names, and what gives it the present ones; without the library, what to install.
export function canvas(box, timeScale = {}) {
  if (!library) return box.replaceChildren(element("p", { class: "state" }, t("Charts need a package that is not installed. Install it, then start “marketdata web” again:"), element("code", {}, "pip install 'marketdata-assets[web]'")));
  const view = library.createChart(box, { autoSize: true, layout: { attributionLogo: false }, timeScale, handleScroll: { vertTouchDrag: false }, localization: { locale: document.documentElement.lang, dateFormat: "yyyy-MM-dd" } });
  const probe = box.appendChild(element("i", { hidden: "" })), colour = (name) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  const dress = () => {
    const border = { borderColor: colour("line") }, grid = { color: colour("grid") };
    const layout = { background: { color: colour("card") }, textColor: colour("muted"), fontFamily: getComputedStyle(document.body).fontFamily };
    view.applyOptions({ layout, grid: { vertLines: grid, horzLines: grid }, rightPriceScale: border, timeScale: border });
  };
  dress();
  return { view, colour, dress };
}

// `again` draws it with other looks, and for paper; what is printed is `view()`, with all its times or those in view.
export function redrawn(box, again, view, all = false) {
  addEventListener("looks", again);
  addEventListener("beforeprint", () => { again(); if (view()) printed(view(), box, all); });
  addEventListener("afterprint", () => { box.querySelector(".paper")?.remove(); again(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
}

// What is printed is a picture of the chart, with the same times in view, or all: a chart that is made smaller is painted too late.
function printed(view, box, all) {
  const range = view.timeScale().getVisibleLogicalRange(), { clientWidth, clientHeight } = box;
  const sized = (width) => { view.resize(width, clientHeight, true); if (all) view.timeScale().fitContent(); else if (range) view.timeScale().setVisibleLogicalRange(range); };
  view.applyOptions({ autoSize: false });
  sized(PRINTED);
  box.append(Object.assign(view.takeScreenshot(), { className: "paper" }));
  sized(clientWidth);
  view.applyOptions({ autoSize: true });
}

// `path(freq, start, end)` is what is requested, `perDay` how many minutes a day has, `words(answer)` the note below the
// chart, and `marks(freq, first, last)` gives times without data as [seconds, why]; an answer has its own in `gaps`.
export function chart({ path, perDay, words, marks = async () => [] }) {
  const buttons = [...document.querySelectorAll("#lengths button")];
  const span = () => ((DAYS[freq] ?? Math.max(1, Math.floor((READ * MINUTES[freq]) / perDay))) - 1) * DAY_MS;
  const label = (time) => new Date(time * 1000).toISOString().slice(0, freq in MINUTES ? 16 : 10).replace("T", " ");
  let freq = by("lengths").dataset.first, asked = 0, busy = false, said = "", aim;
  let bars = new Map(), why = new Map(), times = [], low, high, known, drawn;

  // Begin with the days around one, by default those that are looked at; without one, the newest.
  async function start(target = times.length ? drawn?.where() : aim) {
    const number = ++asked;
    aim = target;
    [bars, why, times, busy] = [new Map(), new Map(), [], true];
    note("chart-note", t("reading …"));
    by("chart").setAttribute("aria-busy", "true");
    await attempt(number, async () => {
      const newest = day(Date.now() + DAY_MS), ends = known ?? (await ask(path(freq, newest, newest)));
      if (number !== asked) return;
      known = ends;
      [by("goto").min, by("goto").max] = [ends.first ?? "", ends.last ?? ""];
      const wanted = target && day(Date.parse(target) + Math.floor(span() / DAY_MS / 2) * DAY_MS);
      const answer = ends.first ? await read(wanted && wanted < ends.last ? (wanted > ends.first ? wanted : ends.first) : ends.last) : ends;
      if (number !== asked) return;
      said = words(answer);
      note("chart-note", said, !answer.candles.length);
      show();
      drawn?.look(target && times.findIndex((time) => time >= seconds(target)));
      performance.mark("drawn");
    });
    if (number !== asked) return;
    if (!bars.size) show();
    busy = false;
    by("chart").removeAttribute("aria-busy");
  }

  // The error of a read that another one has replaced is not shown.
  const attempt = (number, work) => work().catch((error) => number === asked && note("chart-note", error.message, true));

  // Read the days up to one, or from it; `low` and `high` are the ends of what is read.
  async function read(from, forward = false) {
    const number = asked, at = Date.parse(from), [first, last] = forward ? [from, day(at + span())] : [day(Math.max(0, at - span())), from];
    const [answer, found] = await Promise.all([ask(path(freq, first, last)), marks(freq, first, last).catch(() => [])]);
    if (number !== asked) return answer;
    for (const [time, ...values] of answer.candles) if (values[3] !== null) bars.set(seconds(time), values);
    for (const [time, reason] of [...found, ...(answer.gaps ?? []).map((time) => [time, "gap"])]) why.set(time, reason);
    [low, high] = times.length ? [first < low ? first : low, last > high ? last : high] : [first, last];
    return answer;
  }

  async function extend(forward) {
    const more = () => (forward ? high < known.last : low > known.first);
    if (busy || !times.length || !more()) return;
    busy = true;
    const number = asked, [before, size] = [times[0], bars.size];
    await attempt(number, async () => {
      for (let tries = 0; tries < MOST_EMPTY && number === asked && bars.size === size && more(); tries++) {
        await read(day(Date.parse(forward ? high : low) + (forward ? DAY_MS : -DAY_MS)), forward);
      }
      if (number !== asked) return;
      show(before);
      if (bars.size > size) note("chart-note", said);
    });
    if (number === asked) busy = false;
  }

  function show(before) {
    times = [...new Set([...bars.keys(), ...why.keys()])].sort((one, other) => one - other);
    drawn?.data(before ? times.indexOf(before) : 0);
    const last = times.filter((time) => bars.has(time)).slice(-LISTED).reverse();
    by("values").replaceChildren(...last.map((time) => row([label(time), ...bars.get(time).map((one, at) => [amount(one, at < 4 ? 2 : 0), "number"])])));
  }

  function draw(box) {
    const { view, colour, dress } = canvas(box, { rightOffset: 4, minBarSpacing: 0.2 }), plain = { priceLineVisible: false, lastValueVisible: false };
    const band = view.addSeries(library.HistogramSeries, { ...plain, priceScaleId: "bands", autoscaleInfoProvider: () => ({ priceRange: { minValue: 0, maxValue: 1 } }) });
    const volume = view.addSeries(library.HistogramSeries, { ...plain, priceScaleId: "volume", priceFormat: { type: "volume" } });
    const candles = view.addSeries(library.CandlestickSeries, { borderVisible: false });
    const lines = AVERAGES.map((length) => [length, view.addSeries(library.LineSeries, { ...plain, lineWidth: 1, crosshairMarkerVisible: false })]);
    for (const [one, top, bottom] of [[band, 0, 0], [volume, 0.82, 0], [candles, 0.12, 0.22]]) one.priceScale().applyOptions({ scaleMargins: { top, bottom } });

    // All of it, with `moved` more candles before what is in view.
    function data(moved) {
      const range = view.timeScale().getVisibleLogicalRange(), [rise, fall] = [colour("rise-soft"), colour("fall-soft")];
      const digits = Math.max(2, ...[...bars.values()].slice(-100).map((one) => Math.min(8, `${one[3]}`.split(".")[1]?.length ?? 0)));
      const each = (made) => times.map((time) => (bars.has(time) ? { time, ...made(bars.get(time)) } : { time }));
      candles.applyOptions({ priceFormat: { type: "price", precision: digits, minMove: 10 ** -digits } });
      candles.setData(each(([open, high, low, close]) => ({ open: open ?? close, high: high ?? close, low: low ?? close, close })));
      volume.setData(each(([open, , , close, value]) => ({ value: value ?? 0, color: close >= open ? rise : fall })));
      band.setData(times.map((time) => (why.has(time) ? { time, value: 1, color: colour(why.get(time) === "gap" ? "band-bad" : "band") } : { time })));
      const closes = [...times.filter((time) => bars.has(time))].map((time) => [time, bars.get(time)[3]]);
      for (const [length, line] of lines) {
        let sum = 0;
        line.setData(closes.map(([time, close], at) => {
          sum += close - (closes[at - length]?.[1] ?? 0);
          return at >= length - 1 && closes.length > length ? { time, value: sum / length } : { time };
        }));
      }
      view.applyOptions({ timeScale: { timeVisible: freq in MINUTES } });
      if (range && times.length) view.timeScale().setVisibleLogicalRange({ from: range.from + moved, to: range.to + moved });
      say();
    }

    // The values of the candle that is pointed at, by default the newest; of a time without data, why.
    function say(at = times.findLastIndex((time) => bars.has(time))) {
      const one = bars.get(times[at]), time = element("b", {}, times[at] ? label(times[at]) : "");
      if (!one) return by("legend").replaceChildren(time, " ", times[at] ? t(REASONS[why.get(times[at])] ?? "no data") : "");
      const [open, , , close] = one, before = bars.get(times.findLast((time, number) => number < at && bars.has(time)))?.[3] ?? open, change = before ? ((close - before) / Math.abs(before)) * 100 : 0;
      const facts = ["open", "high", "low", "close", "volume"].flatMap((name, number) => [element("span", { class: "note" }, t(name)), ` ${amount(one[number], name === "volume" ? 0 : 2)} `]);
      by("legend").replaceChildren(time, " ", ...facts, element("b", { class: change >= 0 ? "rising" : "falling" }, `${change >= 0 ? "+" : ""}${change.toFixed(2)} %`), " ", why.has(times[at]) ? t(REASONS[why.get(times[at])]) : "");
    }

    function looks() {
      dress();
      candles.applyOptions({ upColor: colour("rise"), wickUpColor: colour("rise"), downColor: colour("fall"), wickDownColor: colour("fall") });
      lines.forEach(([, line], number) => line.applyOptions({ color: colour(`average${number + 1}`), visible: by("averages").checked }));
      if (times.length) data(0);
    }

    view.subscribeCrosshairMove(({ time }) => say(time ? times.indexOf(time) : undefined));
    view.timeScale().subscribeVisibleLogicalRangeChange((range) => {
      if (range && range.from < NEAR) extend(false);
      else if (range && range.to > times.length + NEAR) extend(true);
    });
    box.addEventListener("keydown", ({ key }) => {
      const range = view.timeScale().getVisibleLogicalRange(), size = range && (range.to - range.from) / 10;
      const step = { ArrowLeft: [-size, -size], ArrowRight: [size, size], "+": [size, 0], "-": [-size, 0] }[key];
      if (range && step) view.timeScale().setVisibleLogicalRange({ from: range.from + step[0], to: range.to + step[1] });
    });
    redrawn(box, looks, () => view);
    by("averages").addEventListener("change", looks);
    looks();

    // So many candles as the width has room for, from a quarter of them before one, or the newest; and the day that is there.
    function look(at) {
      const size = Math.min(SHOWN, Math.max(40, Math.floor(box.clientWidth / 7)));
      const end = times.length + 3, from = Math.max(0, Math.min(at >= 0 ? at - size / 4 : end, end - 3 - size));
      view.timeScale().setVisibleLogicalRange({ from, to: at >= 0 ? Math.min(end, from + size) : end });
    }
    function where() {
      const range = view.timeScale().getVisibleLogicalRange();
      return range && range.to < times.length - 1 ? day(times[Math.max(0, Math.round((range.from * 3 + range.to) / 4))] * 1000) : undefined;
    }
    return { data, look, where };
  }

  for (const one of buttons) {
    one.setAttribute("aria-pressed", String(one.value === freq));
    one.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === one));
      freq = one.value;
      start();
    });
  }
  drawn = library ? draw(by("chart")) : canvas(by("chart"));
  by("table").open = !drawn;
  // A day that is still being typed has a year before the first one. `again()` begins with what was chosen elsewhere, and with another length where one is given.
  by("goto").addEventListener("change", ({ target }) => target.validity.valid && start(target.value));
  start();
  return { go: start, again: (length) => { known = undefined; length ? buttons.find((one) => one.value === length).click() : start(); } };
}
