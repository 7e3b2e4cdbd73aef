// Renders API responses. Texts are set as text content, never as markup.
import { watch } from "./events.js";

const $$ = (id) => document.getElementById(id);

function chipItem(chip, choose) {
  const item = $$("chip-template").content.cloneNode(true);
  const button = item.querySelector("button");
  button.textContent = chip.text;
  button.title = chip.prompt;
  button.lang = chip.lang;
  button.dataset.icon = chip.icon;
  watch(button, chip.token);
  button.addEventListener("click", () => choose(chip));
  return item;
}

function linkItem(link) {
  const item = $$("link-template").content.cloneNode(true);
  const anchor = item.querySelector("a");
  anchor.href = link.url;
  anchor.textContent = link.title;
  item.querySelector(".card").lang = link.lang;
  item.querySelector(".avatar").textContent = [...link.title][0];
  item.querySelector(".snippet").textContent = link.snippet;
  item.querySelector(".host").textContent = [link.display_url, link.published_at?.slice(0, 10)].filter(Boolean).join(" · ");
  watch(anchor, link.token);
  return item;
}

// An item under the pointer or with the focus does not change.
const touched = new Set();
for (const id of ["chips", "links"])
  for (const type of ["pointerdown", "focusin"]) $$(id).addEventListener(type, () => touched.add(id));

addEventListener("resize", () => { $$("chips").style.minHeight = ""; });

export function begin() {
  touched.clear();
  return setTimeout(() => { for (const id of ["chips", "links"]) $$(id).classList.add("waiting"); }, 150);
}

export function show(part, items, choose) {
  const list = $$(part);
  list.classList.remove("waiting");
  if (touched.has(part)) return;
  // The list never shrinks while the user types, so that what is below it does not move.
  if (part === "chips") list.style.minHeight = `${list.offsetHeight}px`;
  list.replaceChildren(...items.map(part === "chips" ? (chip) => chipItem(chip, choose) : linkItem));
}

export function end(timer) {
  clearTimeout(timer);
  for (const id of ["chips", "links"]) $$(id).classList.remove("waiting");
}
