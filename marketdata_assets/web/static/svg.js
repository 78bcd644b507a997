// What charts share: elements of SVG, and labels of axes.

const SVG = "http://www.w3.org/2000/svg";

export function add(parent, name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  parent.append(made);
  return made;
}

export function f(number) {
  return number.toFixed(2);
}

// As many digits after the point as tell values apart that differ by `step`, at least two.
export function priced(value, step) {
  const digits = step > 0 ? Math.min(12, Math.max(2, 1 - Math.floor(Math.log10(step)))) : 2;
  return value.toFixed(digits);
}
