// Yields {name, data} for each server-sent event until the stream ends or sends [DONE].
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    const frames = rest.split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const lines = frame.split("\n");
      const field = (name) => lines.filter((l) => l.startsWith(`${name}: `)).map((l) => l.slice(name.length + 2)).join("\n");
      const data = field("data");
      if (data === "[DONE]") return;
      if (data) yield { name: field("event"), data: JSON.parse(data) };
    }
  }
}
