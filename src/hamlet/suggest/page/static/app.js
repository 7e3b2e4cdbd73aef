// The demo page: suggests while the user types, and sends chats to the model routes.
import { reportWith } from "./events.js";
import { readEvents } from "./sse.js";
import { SAMPLES, TEXTS } from "./texts.js";
import * as view from "./view.js";

const DEBOUNCE_MS = 250;
const $$ = (id) => document.getElementById(id);
const query = $$("query");
const setup = document.body.dataset;
const state = { lang: document.documentElement.lang, context: null, trouble: { llm: "none", web: "none" }, key: sessionStorage.getItem("key") ?? "" };
let timer, pending, answering;

const text = () => TEXTS[state.lang];
const headers = () => (state.key ? { "x-api-key": state.key } : {});

function translate() {
  document.documentElement.lang = state.lang;
  document.title = `hamlet · ${text().ask}`;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text()[node.dataset.text];
  for (const button of document.querySelectorAll("#languages button")) button.setAttribute("aria-pressed", String(button.value === state.lang));
  query.placeholder = text().hint;
  $$("notice").textContent = text().bare;
  $$("notice").hidden = setup.demo === "true" || (setup.model === "true" && setup.web === "true");
  $$("samples").replaceChildren(...SAMPLES[state.lang].map(sampleButton));
  if (setup.demo === "true") $$("troubles").replaceChildren(...["llm", "web"].map(troubleRow));
  showContext();
}

function sampleButton(sample) {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: sample.label });
  button.addEventListener("click", () => {
    query.value = sample.query ?? "";
    state.context = sample.context ? sample : null;
    showContext();
    refresh();
  });
  return button;
}

function showContext() {
  const shown = state.context;
  $$("context").hidden = !shown;
  if (!shown) return;
  const { page, messages } = shown.context;
  $$("context-kind").textContent = text()[shown.kind];
  $$("context-text").textContent = page ? `${page.title} – ${page.text}` : messages.map((m) => m.content).join(" / ");
}

function troubleRow(part) {
  const row = document.createElement("fieldset");
  row.append(Object.assign(document.createElement("legend"), { textContent: text().parts[part] }));
  for (const [name, label] of Object.entries(text().troubles).sort(([a], [b]) => (b === "none") - (a === "none"))) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: label });
    button.dataset.trouble = `${part}-${name}`;
    button.setAttribute("aria-pressed", String(state.trouble[part] === name));
    button.addEventListener("click", () => makeTrouble(part, name));
    row.append(button);
  }
  return row;
}

async function makeTrouble(part, name) {
  state.trouble[part] = name;
  await fetch("/v1/demo/trouble", {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(state.trouble),
  });
  for (const button of $$("troubles").querySelectorAll(`[data-trouble^=${part}-]`))
    button.setAttribute("aria-pressed", String(button.dataset.trouble === `${part}-${name}`));
  refresh();
}

async function refresh() {
  pending?.abort();
  const mine = (pending = new AbortController());
  const wish = {
    context: { ...state.context?.context, query: query.value },
    locale: { lang: state.lang, tz: Intl.DateTimeFormat().resolvedOptions().timeZone },
    budget_ms: 1500,
  };
  const waiting = view.begin();
  try {
    const response = await fetch("/v1/suggest", {
      method: "POST",
      headers: { "content-type": "application/json", accept: "text/event-stream", ...headers() },
      signal: mine.signal,
      body: JSON.stringify(wish),
    });
    if (response.status === 401) return askForKey();
    if (!response.ok) throw new Error(response.status);
    await follow(response, wish);
  } catch (error) {
    if (error.name !== "AbortError") $$("status").textContent = text().failed;
  } finally {
    if (mine === pending) view.end(waiting);
    else clearTimeout(waiting);
  }
}

async function follow(response, wish) {
  const got = {};
  for await (const { name, data } of readEvents(response.body)) {
    got[name] = data;
    if (name === "chips" || name === "links") view.show(name, data.items, choose);
    if (name === "problem") throw new Error(data.status);
  }
  const { tier } = text();
  const reasons = got.done.degradations.map((d) => d.reason).join(", ");
  $$("status").textContent = [
    `${text().chipsBy}: ${tier[got.chips.tier]}`,
    `${text().linksBy}: ${tier[got.links.tier]}`,
    `${Math.round(got.done.timing.total_ms)} ms${reasons && ` (${reasons})`}`,
  ].join(" · ");
  $$("request").textContent = JSON.stringify(wish, null, 2);
  $$("response").textContent = JSON.stringify(got, null, 2);
  const quoted = JSON.stringify(wish).replaceAll("'", "'\\''");
  $$("curl").textContent = `curl ${location.origin}/v1/suggest -H 'content-type: application/json' -d '${quoted}'`;
}

function askForKey() {
  $$("key-row").hidden = false;
  $$("status").textContent = text().needKey;
}

// A chip fills the composer; it is sent only if its action is "submit".
function choose(chip) {
  query.value = chip.prompt;
  query.focus();
  if (chip.action === "submit") ask(chip.prompt);
}

async function ask(question) {
  answering?.abort();
  answering = new AbortController();
  $$("answer-section").hidden = false;
  $$("answer").textContent = "";
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", ...headers() },
      signal: answering.signal,
      body: JSON.stringify({ model: "hamlet", stream: true, messages: [{ role: "user", content: question }] }),
    });
    if (!response.ok) throw new Error(response.status);
    for await (const { data } of readEvents(response.body)) {
      if (data.error) throw new Error(data.error.code);
      $$("answer").append(data.choices[0]?.delta?.content ?? "");
    }
  } catch (error) {
    if (error.name !== "AbortError") $$("answer").append(`\n${text().failed}`);
  }
}

query.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, DEBOUNCE_MS);
});
$$("languages").addEventListener("submit", (event) => {
  event.preventDefault();
  state.lang = event.submitter.value;
  state.context = null;
  translate();
  refresh();
});
$$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const { submitter } = event;
  if (submitter?.classList.contains("chip")) choose({ prompt: submitter.value, action: "fill" });
  else if (query.value.trim()) {
    ask(query.value);
    refresh();
  }
});
$$("context-clear").addEventListener("click", () => {
  state.context = null;
  showContext();
  refresh();
});
$$("key-row").addEventListener("submit", (event) => event.preventDefault());
$$("key").addEventListener("change", () => {
  $$("key-row").hidden = true;
  state.key = $$("key").value;
  sessionStorage.setItem("key", state.key);
  refresh();
});

reportWith(headers, ({ impression, click }) => {
  $$("counters").textContent = `${impression} · ${click} · ${impression ? `${Math.round((100 * click) / impression)} %` : "–"}`;
});
for (const node of document.querySelectorAll(".scripted")) node.hidden = false;
$$("trouble").hidden = setup.demo !== "true";
translate();
refresh();
