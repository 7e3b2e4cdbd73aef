// The demo page: chips and links as one types, and an answer from the model routes.
import { readEvents } from "./sse.js";

const TEXTS = {
  ko: { ask: "무엇이 궁금하세요?", send: "질문", chips: "이런 질문은 어때요", links: "관련 링크",
        answer: "답변", tier: { embedded: "내장 검색", starter: "첫 화면 추천" }, failed: "지금은 불러올 수 없어요" },
  en: { ask: "What is on your mind?", send: "Ask", chips: "You might ask", links: "Related links",
        answer: "Answer", tier: { embedded: "embedded search", starter: "starters" }, failed: "This cannot be loaded now" },
  ja: { ask: "何が気になりますか？", send: "質問", chips: "こんな質問はどうですか", links: "関連リンク",
        answer: "回答", tier: { embedded: "内蔵検索", starter: "はじめのおすすめ" }, failed: "今は読み込めません" },
};
const DEBOUNCE_MS = 250;
const SEEN_MS = 1000;
const $ = (id) => document.getElementById(id);
const query = $("query");
let lang = ["ko", "ja"].find((l) => navigator.language.startsWith(l)) ?? "en";
let timer, pending, answering;

function translate() {
  document.documentElement.lang = lang;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = TEXTS[lang][node.dataset.text];
  for (const button of document.querySelectorAll("[data-lang]"))
    button.setAttribute("aria-pressed", String(button.dataset.lang === lang));
}

async function refresh() {
  pending?.abort();
  pending = new AbortController();
  try {
    const response = await fetch("/v1/suggest", {
      method: "POST",
      headers: { "content-type": "application/json" },
      signal: pending.signal,
      body: JSON.stringify({
        context: { query: query.value },
        locale: { lang, tz: Intl.DateTimeFormat().resolvedOptions().timeZone },
      }),
    });
    if (!response.ok) throw new Error(response.status);
    show(await response.json());
  } catch (error) {
    if (error.name !== "AbortError") $("status").textContent = TEXTS[lang].failed;
  }
}

function show({ links, chips, timing }) {
  $("chips").replaceChildren(...chips.items.map(chipItem));
  $("links").replaceChildren(...links.items.map(linkItem));
  const tiers = TEXTS[lang].tier;
  $("status").textContent = `${tiers[chips.tier]} · ${tiers[links.tier]} · ${timing.total_ms} ms`;
}

// What is half visible for a second was seen; a click or a tap is told at once.
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    clearTimeout(target.seenTimer);
    if (isIntersecting) target.seenTimer = setTimeout(() => {
      seen.unobserve(target);
      report("impression", target.dataset.token);
    }, SEEN_MS);
  }
}, { threshold: 0.5 });

function report(type, token) {
  const event = { event_id: crypto.randomUUID(), type, token, ts: Date.now() / 1000 };
  navigator.sendBeacon("/v1/events", JSON.stringify({ events: [event] }));
}

function watch(node, token) {
  node.dataset.token = token;
  node.addEventListener("click", () => report("click", token));
  seen.observe(node);
}

function chipItem(chip) {
  const item = $("chip-template").content.cloneNode(true);
  const button = item.querySelector("button");
  button.textContent = chip.text;
  button.title = chip.prompt;
  button.lang = chip.lang;
  watch(button, chip.token);
  button.addEventListener("click", () => {
    query.value = chip.prompt;
    query.focus();
  });
  return item;
}

function linkItem(link) {
  const item = $("link-template").content.cloneNode(true);
  const anchor = item.querySelector("a");
  anchor.href = link.url;
  anchor.textContent = link.title;
  watch(anchor, link.token);
  item.querySelector(".avatar").textContent = [...link.title][0];
  item.querySelector(".snippet").textContent = link.snippet;
  item.querySelector(".host").textContent = link.display_url;
  return item;
}

async function ask(text) {
  answering?.abort();
  answering = new AbortController();
  $("answer-section").hidden = false;
  $("answer").textContent = "";
  try {
    const response = await fetch("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      signal: answering.signal,
      body: JSON.stringify({ model: "hamlet", stream: true, messages: [{ role: "user", content: text }] }),
    });
    if (!response.ok) throw new Error(response.status);
    for await (const chunk of readEvents(response.body)) {
      if (chunk.error) throw new Error(chunk.error.code);
      $("answer").append(chunk.choices[0]?.delta?.content ?? "");
    }
  } catch (error) {
    if (error.name !== "AbortError") $("answer").append(`\n${TEXTS[lang].failed}`);
  }
}

query.addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(refresh, DEBOUNCE_MS);
});
$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (query.value.trim()) {
    ask(query.value);
    refresh();
  }
});
for (const button of document.querySelectorAll("[data-lang]"))
  button.addEventListener("click", () => {
    lang = button.dataset.lang;
    translate();
    refresh();
  });

// A link may fill the composer, and never more than that.
query.value = new URLSearchParams(location.search).get("q")?.slice(0, 512) ?? "";
translate();
refresh();
