// The months of a stock or symbol as a grid of years, coloured by the share of the expected minutes that are loaded.

import { count, element, row, t } from "/static/page.js";

// `more(month)` adds to what a cell shows and says: { mark, title }. `choose(month)` is called for one that is pressed.
export function grid(table, months, choose, more = () => ({})) {
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

export function summary(months) {
  const total = (number) => count(months.reduce((sum, one) => sum + number(one), 0));
  return t("{loaded} minutes in {months} months; of {expected} expected minutes {missing} are missing: {none} trading days have none, {few} fewer than usual", {
    months: months.length, loaded: total((one) => one.loaded), expected: total((one) => one.expected), missing: total((one) => one.missing),
    none: total((one) => one.none.length), few: total((one) => one.few.length),
  });
}

export const days = (what, list) => (list.length ? `\n${t(what)}: ${list.join(", ")}` : "");

function cell(month, { mark = "", title = "" }, choose) {
  const share = month.expected ? 1 - month.missing / month.expected : 1;
  const level = share <= 0 ? 0 : share >= 1 ? 4 : share >= 0.95 ? 3 : share >= 0.5 ? 2 : 1;
  const lacks = t("{month}: {loaded} minutes, {missing} of {expected} missing", month);
  const made = element("button", { type: "button", class: `cell level${level}`, title: `${lacks}${days("days without", month.none)}${days("days with fewer", month.few)}${title}` }, `${month.loaded}${mark}`);
  made.addEventListener("click", () => choose(month));
  return made;
}
