// The page of a symbol of ticks: the months of its minutes, which days are not final, and how each month was loaded.

import { ask, count, note, row } from "/static/ask.js";
import { days, grid, summary } from "/static/months.js";

const code = decodeURIComponent(location.pathname.split("/").pop());

function more(month) {
  const marks = [month.provisional.length && "p", month.incomplete.length && "i", month.outcome === "failed" && "!"];
  const title = ["provisional", "incomplete", "unsupported"].map((state) => days(state, month[state])).join("");
  const mark = marks.filter(Boolean).join("");
  return { mark: mark && ` ${mark}`, title: `${title}${month.outcome === "failed" ? `\nfailed: ${month.error}` : ""}` };
}

function finality(months) {
  const total = (name) => months.reduce((sum, one) => sum + one[name].length, 0);
  const failed = months.filter((one) => one.outcome === "failed").length;
  const open = `${total("provisional")} days are provisional, ${total("incomplete")} incomplete`;
  note("final-note", `${open}; the last load of ${failed} months failed`, failed > 0);
}

function load(month) {
  const facts = {
    outcome: month.outcome ?? "no load is on record",
    provider: month.provider,
    "loaded (UTC)": month.finished,
    "rejected rows": month.rejected && count(month.rejected),
    "provisional days": month.provisional.join(", "),
    "incomplete days": month.incomplete.join(", "),
    "days without a source": month.unsupported.join(", "),
    "trading days without minutes": month.none.join(", "),
    "days with fewer minutes": month.few.join(", "),
    error: month.error,
  };
  const table = document.getElementById("load");
  table.caption.textContent = month.month;
  table.tBodies[0].replaceChildren(...Object.entries(facts).filter(([, value]) => value).map(([name, value]) => row([name, value])));
  table.hidden = false;
}

async function show() {
  try {
    const answer = await ask(`/api/symbols/${encodeURIComponent(code)}`);
    document.getElementById("title").textContent = document.title = answer.name ? `${code} ${answer.name}` : code;
    document.getElementById("status").textContent = answer.status ?? "";
    note("coverage-note", summary(answer.months));
    finality(answer.months);
    grid(document.getElementById("coverage"), answer.months, { more, choose: load });
    const others = Object.entries(answer.others);
    document.querySelector("#others tbody").replaceChildren(
      ...others.map(([table, one]) => row([table, [count(one.rows), "number"], one.first, one.last])),
    );
  } catch (error) {
    note("coverage-note", error.message, true);
  }
}

document.getElementById("title").textContent = document.title = code;
show();
