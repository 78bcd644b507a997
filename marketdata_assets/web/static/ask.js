// What pages share: questions to the server that end, and elements whose text is never read as HTML.

const SECONDS = 15;
const LONG_SECONDS = 60;

export async function ask(path, { long = false } = {}) {
  const seconds = long ? LONG_SECONDS : SECONDS;
  let answer;
  try {
    answer = await fetch(path, { signal: AbortSignal.timeout(seconds * 1000) });
  } catch (error) {
    const what = error.name === "TimeoutError" ? `no answer within ${seconds} s` : "the page's server does not answer";
    throw new Error(`${what}. Start it again with "marketdata web", then reload this page.`);
  }
  if (answer.status === 401) throw new Error("Not logged in. Reload this page and paste the token.");
  const body = await answer.json().catch(() => ({ error: `status ${answer.status} without a reason; see the log of "marketdata web".` }));
  if (!answer.ok) throw new Error(body.error);
  return body;
}

export function element(name, attributes = {}, text = "") {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// A row of a table; a cell is text, or [text, class].
export function row(cells, kind = "td") {
  const made = element("tr");
  made.append(...cells.map((cell) => {
    const [text, name] = Array.isArray(cell) ? cell : [cell, ""];
    return element(kind, name ? { class: name } : {}, text ?? "");
  }));
  return made;
}

export function note(id, text, failed = false) {
  const where = document.getElementById(id);
  where.textContent = text;
  where.classList.toggle("error", failed);
}

export function count(number) {
  return number === null || number === undefined ? "" : number.toLocaleString("en");
}

export const DAY_MS = 86_400_000;

export function day(time) {
  return new Date(time).toISOString().slice(0, 10);
}
