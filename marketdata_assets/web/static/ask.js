// What pages share: questions to the server that end, and elements whose text is never read as HTML.

const SECONDS = 15;

export async function ask(path) {
  let answer;
  try {
    answer = await fetch(path, { signal: AbortSignal.timeout(SECONDS * 1000) });
  } catch (error) {
    const what = error.name === "TimeoutError" ? `no answer within ${SECONDS} s` : "the page's server does not answer";
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

export function note(id, text, failed = false) {
  const where = document.getElementById(id);
  where.textContent = text;
  where.classList.toggle("error", failed);
}
