// How much is bid and asked up to each price: two stepped areas.

import { add, f, priced } from "/static/svg.js";

const WIDTH = 700, TOP = 14, BOTTOM = 380, LINES = 4, PRICES = 6;

export function depth(svg, bids, asks, unit) {
  svg.replaceChildren();
  const sides = [["rise", sums(bids)], ["fall", sums(asks)]].filter(([, levels]) => levels.length);
  if (!sides.length) return;
  const all = sides.flatMap(([, levels]) => levels);
  const low = Math.min(...all.map(([price]) => price)), high = Math.max(...all.map(([price]) => price));
  const most = Math.max(...all.map(([, sum]) => sum));
  const x = (price) => ((price - low) / (high - low || 1)) * WIDTH;
  const y = (sum) => BOTTOM - (sum / (most || 1)) * (BOTTOM - TOP);
  for (let number = 0; number <= LINES; number++) {
    const sum = (most * number) / LINES;
    add(svg, "path", { class: "grid", d: `M0 ${f(y(sum))}H${WIDTH}` });
    add(svg, "text", { x: WIDTH + 4, y: f(y(sum) + 4) }, Number(sum.toPrecision(3)).toLocaleString("en"));
  }
  for (let number = 0; number < PRICES; number++) {
    const price = low + ((high - low) * number) / PRICES;
    add(svg, "text", { x: f(x(price)), y: 400 }, priced(price, (high - low) / PRICES));
  }
  for (const [name, levels] of sides) {
    let steps = `M${f(x(levels[0][0]))} ${BOTTOM}`;
    levels.forEach(([price, sum]) => { steps += `H${f(x(price))}V${f(y(sum))}`; });
    add(svg, "path", { class: `${name} volume`, d: `${steps}V${BOTTOM}z` });
  }
  add(svg, "text", { x: 0, y: 416 }, `price, and size up to it in ${unit}: bids on the left, asks on the right`);
}

// Price, and the size of all levels from the best one to it.
function sums(levels) {
  let sum = 0;
  return levels.map(([price, size]) => [Number(price), (sum += Number(size))]);
}
