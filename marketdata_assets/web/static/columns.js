// One column for each period, coloured by its level; its label is shown when it is pointed at.

import { add, f } from "/static/svg.js";

const WIDTH = 1200, HEIGHT = 70;

export function columns(list) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("class", "columns");
  svg.setAttribute("preserveAspectRatio", "xMinYMax meet");
  const most = Math.max(1, ...list.map((one) => one.height));
  const width = Math.min(24, WIDTH / list.length);
  list.forEach((one, number) => {
    const height = Math.max(3, (one.height / most) * HEIGHT);
    const place = { x: f(number * width), y: f(HEIGHT - height), width: f(Math.max(0.8, width - 1)), height: f(height) };
    const column = add(svg, "rect", { class: `column${one.level}`, ...place });
    add(column, "title", {}, one.label);
  });
  return svg;
}
