// Reports impressions and clicks, each item once, and counts those of this visit.
const SEEN_MS = 1000;
const counts = { impression: 0, click: 0 };
let headers = () => ({});
let changed = () => {};

export function reportWith(makeHeaders, onChange) {
  headers = makeHeaders;
  changed = onChange;
}

async function report(type, token) {
  const event = { event_id: crypto.randomUUID(), type, token, ts: Date.now() / 1000 };
  const response = await fetch("/v1/events", {
    method: "POST",
    keepalive: true,
    headers: { "content-type": "application/json", ...headers() },
    body: JSON.stringify({ events: [event] }),
  }).catch(() => null);
  if (!response?.ok) return;
  const { accepted } = await response.json();
  counts[type] += accepted;
  changed(counts);
}

// An impression: at least half of the item was visible for a second.
const seen = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    clearTimeout(target.seenTimer);
    if (isIntersecting) target.seenTimer = setTimeout(() => {
      seen.unobserve(target);
      report("impression", target.dataset.token);
    }, SEEN_MS);
  }
}, { threshold: 0.5 });

export function watch(node, token) {
  node.dataset.token = token;
  node.addEventListener("click", () => report("click", token));
  seen.observe(node);
}
