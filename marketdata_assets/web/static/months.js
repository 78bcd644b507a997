// The months of a stock or symbol as a grid of years, coloured by the share of the expected minutes that are loaded.

import { element } from "/static/ask.js";

// `more(month)` adds to what a cell shows and says: { mark, title }. `choose(month)` is called for one that is pressed.
export function grid(table, months, { more = () => ({}), choose = null } = {}) {
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
      if (month) cell.append(button(month, more(month), choose));
      line.append(cell);
    }
    return line;
  }));
  table.hidden = false;
}

export function summary(months) {
  const total = (number) => months.reduce((sum, one) => sum + number(one), 0).toLocaleString("en");
  const minutes = `${total((one) => one.loaded)} minutes in ${months.length} months; of ${total((one) => one.expected)} expected minutes ${total((one) => one.missing)} are missing`;
  return `${minutes}: ${total((one) => one.none.length)} trading days have none, ${total((one) => one.few.length)} fewer than usual`;
}

export function days(what, list) {
  return list.length ? `\n${what}: ${list.join(", ")}` : "";
}

function button(month, { mark = "", title = "" }, choose) {
  const share = month.expected ? 1 - month.missing / month.expected : 1;
  const level = share <= 0 ? 0 : share >= 1 ? 4 : share >= 0.95 ? 3 : share >= 0.5 ? 2 : 1;
  const lacks = `${month.month}: ${month.loaded} minutes, ${month.missing} of ${month.expected} missing`;
  const made = element("button", {
    class: `cell level${level}`,
    title: `${lacks}${days("days without", month.none)}${days("days with fewer", month.few)}${title}`,
  }, `${month.loaded}${mark}`);
  if (choose) made.addEventListener("click", () => choose(month));
  return made;
}
