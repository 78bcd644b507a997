// What pages share: questions to the server that end, elements whose text is never read as HTML, language and settings.

const SECONDS = 15, LONG_SECONDS = 60, MOST_RECENT = 8, BARS = 40;
const root = document.documentElement;
const words = root.lang === "zh" ? await fetch("/static/zh.json").then((answer) => answer.json(), () => ({})) : {};
document.querySelector(`nav a[href="${location.pathname}"]`)?.setAttribute("aria-current", "page");
export const STORES = { postgres: "PostgreSQL", clickhouse: "ClickHouse", mongo: "MongoDB" };
export const DAY_MS = 86_400_000;
export const day = (time) => new Date(time).toISOString().slice(0, 10);
export const count = (number) => number?.toLocaleString("en") ?? "";
// A price or a volume with all digits that say something, up to eight of a small one, and at least so many decimals.
export const amount = (number, least = 0) => number?.toLocaleString("en", { minimumFractionDigits: least, maximumFractionDigits: Math.min(20, Math.max(4, 7 - Math.floor(Math.log10(Math.abs(number) || 1)))) }) ?? "";
export const by = (id) => document.getElementById(id);

// English text in the language of the page; {names} are replaced by values.
export const t = (text, values = {}) => (words[text] ?? text).replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

export async function ask(path, { long = false } = {}) {
  const seconds = long ? LONG_SECONDS : SECONDS;
  let answer;
  try {
    answer = await fetch(path, { signal: AbortSignal.timeout(seconds * 1000) });
  } catch (error) {
    const what = error.name === "TimeoutError" ? t("no answer within {seconds} s", { seconds }) : t("the page's server does not answer");
    throw new Error(`${what}. ${t("Start it again with “marketdata web”, then reload this page.")}`);
  }
  if (answer.status === 401) throw new Error(t("Not logged in. Open the link that “marketdata web” prints, or reload this page and paste the token."));
  const body = await answer.json().catch(() => ({ error: `status ${answer.status} without a reason; see the log of “marketdata web”.` }));
  if (!answer.ok) throw new Error(body.error);
  return body;
}

const made = (one, attributes, inside) => {
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, value);
  one.append(...inside.map((part) => part ?? ""));
  return one;
};
export const element = (name, attributes = {}, ...inside) => made(document.createElement(name), attributes, inside);
export const shape = (name, attributes, ...inside) => made(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, inside);

// A row of a table; a cell is text, or [text, class], or an element.
export function row(cells, kind = "td") {
  return element("tr", {}, ...cells.map((cell) => (Array.isArray(cell) ? element(kind, { class: cell[1] }, cell[0]) : element(kind, {}, cell))));
}

export function note(id, text, failed = false) {
  by(id).textContent = text;
  by(id).classList.toggle("error", failed);
  by(id).classList.remove("loading");
}

// Do a part of the page; where it fails, its note says why.
export const attempt = (id, work) => work().catch((error) => note(id, error.message, true));

// What the page is about; with more than a code it is known, and among the recently viewed ones.
export function title(...parts) {
  by("title").textContent = document.title = parts.filter(Boolean).join(" ");
  if (parts.length < 2) return;
  const href = location.pathname + location.search, others = recent().filter((one) => one.href !== href);
  kept("recent", JSON.stringify([{ href, name: document.title }, ...others].slice(0, MOST_RECENT)));
}

// The rows of periods as bars up to the newest one, for a glance; months or days without rows have none.
export function trend(periods, label) {
  const last = periods.map((one) => one.period).sort().at(-1), sums = Map.groupBy(periods, (one) => one.period);
  const before = (back) => (last.length > 7 ? day(Date.parse(last) - back * DAY_MS) : day(Date.UTC(last.slice(0, 4), last.slice(5) - 1 - back)).slice(0, 7));
  const values = Array.from({ length: BARS }, (_, at) => (sums.get(before(BARS - 1 - at)) ?? []).reduce((sum, one) => sum + (one.rows ?? one.gaps ?? 0), 0));
  const most = Math.max(1, ...values), d = values.map((value, at) => `M${at * 3 + 1.5} 32v${(-Math.max(value ? 1.5 : 0, (value / most) * 30)).toFixed(1)}`).join("");
  return shape("svg", { class: "spark", viewBox: `0 0 ${BARS * 3} 32`, preserveAspectRatio: "none", role: "img", "aria-label": label }, shape("path", { d }));
}

const kept = (name, value) => { try { return value === undefined ? localStorage.getItem(name) : localStorage.setItem(name, value); } catch { return null; } };
export const recent = () => { try { return JSON.parse(kept("recent") ?? "[]").filter((one) => one.href.startsWith("/")); } catch { return []; } };

const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode()) {
  const [, before, text, after] = texts.currentNode.data.match(/^(\s*)([^]*?)(\s*)$/);
  texts.currentNode.data = before + t(text.replace(/\s+/g, " ")) + after;
}
document.title = t(document.title);
for (const name of ["placeholder", "aria-label"]) {
  for (const one of document.querySelectorAll(`[${name}]`)) one.setAttribute(name, t(one.getAttribute(name)));
}
for (const one of document.querySelectorAll("#settings select")) {
  one.value = kept(one.name) ?? "auto";
  one.addEventListener("change", () => {
    kept(one.name, one.value);
    if (one.name === "lang") location.reload();
    else dispatchEvent(new Event("looks"));
  });
}
root.dataset.ready = "";
