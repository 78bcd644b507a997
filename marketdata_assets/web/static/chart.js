// Candles and volumes as SVG: two paths for rising and two for falling candles, however many there are.

import { add, f, priced } from "/static/svg.js";

const WIDTH = 1200, TOP = 22, BOTTOM = 340, VOLUME_TOP = 356, VOLUME_BOTTOM = 430, RIGHT = 1130;
const LINES = 5, DATES = 8;

export function draw(svg, candles, step) {
  const drawn = candles.filter((one) => one[1] !== null && one[4] !== null);
  svg.replaceChildren();
  if (!drawn.length) return;
  const low = Math.min(...drawn.map((one) => one[3] ?? one[4])), high = Math.max(...drawn.map((one) => one[2] ?? one[4]));
  const most = Math.max(1, ...drawn.map((one) => one[5] ?? 0));
  const width = RIGHT / drawn.length;
  const y = (price) => BOTTOM - ((price - low) / (high - low || 1)) * (BOTTOM - TOP);
  axes(svg, drawn, low, high, y, width);
  for (const [name, rises] of [["rise", true], ["fall", false]]) {
    let bodies = "", volumes = "";
    drawn.forEach(([, open, top, bottom, close, volume], number) => {
      if (close >= open !== rises) return;
      const middle = (number + 0.5) * width, half = Math.max(0.3, width * 0.35);
      const from = y(Math.max(open, close)), to = Math.max(y(Math.min(open, close)), from + 0.6);
      bodies += `M${f(middle)} ${f(y(top ?? close))}V${f(y(bottom ?? close))}M${f(middle - half)} ${f(from)}h${f(2 * half)}V${f(to)}h${f(-2 * half)}z`;
      const upTo = VOLUME_BOTTOM - ((volume ?? 0) / most) * (VOLUME_BOTTOM - VOLUME_TOP);
      volumes += `M${f(middle - half)} ${VOLUME_BOTTOM}V${f(upTo)}h${f(2 * half)}V${VOLUME_BOTTOM}z`;
    });
    add(svg, "path", { class: name, d: bodies, "stroke-width": Math.min(1, width * 0.5) });
    add(svg, "path", { class: `${name} volume`, d: volumes, "stroke-width": 0 });
  }
  cursor(svg, drawn, width, step);
}

function axes(svg, drawn, low, high, y, width) {
  for (let number = 0; number <= LINES; number++) {
    const price = low + ((high - low) * number) / LINES;
    add(svg, "path", { class: "grid", d: `M0 ${f(y(price))}H${RIGHT}` });
    add(svg, "text", { x: RIGHT + 6, y: f(y(price) + 4) }, priced(price, (high - low) / LINES));
  }
  const every = Math.ceil(drawn.length / DATES);
  for (let number = 0; number < drawn.length; number += every) {
    add(svg, "text", { x: f(number * width), y: 450 }, label(drawn[number][0]));
  }
}

function cursor(svg, drawn, width, step) {
  const line = add(svg, "path", { class: "cursor", d: "" });
  const text = add(svg, "text", { x: 0, y: 14 }, "");
  const say = (number) => {
    const [time, open, high, low, close, volume] = drawn[number];
    const middle = f((number + 0.5) * width);
    line.setAttribute("d", `M${middle} ${TOP}V${VOLUME_BOTTOM}`);
    const count = volume === null ? "none" : volume.toLocaleString("en");
    text.textContent = `${label(time)} (${step})  open ${open}  high ${high}  low ${low}  close ${close}  volume ${count}`;
  };
  svg.onmousemove = (event) => {
    const box = svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    say(Math.max(0, Math.min(drawn.length - 1, Math.floor(at / width))));
  };
  say(drawn.length - 1);
}

function label(time) {
  return time.replace("T", " ").replace(/:00$/, "");
}
