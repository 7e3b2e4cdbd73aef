// The official openai package for Node, unmodified: prints one line per check, fails on the first.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [url, model, kind] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
const messages = [{ role: "user", content: "Hello, what is the weather in Seoul?" }];
const schema = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const tool = { type: "function", function: { name: "weather", parameters: schema } };
const PIXEL =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

const checks = {
  async answers() {
    const answer = await client.chat.completions.create({ model, messages });
    assert.ok(answer.choices[0].message.content);
    assert.ok(answer.usage.total_tokens > 0);
  },
  async streams() {
    const whole = await client.chat.completions.create({ model, messages });
    const stream = await client.chat.completions.create({
      model, messages, stream: true, stream_options: { include_usage: true },
    });
    let text = "", usage;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.equal(usage.total_tokens, whole.usage.total_tokens);
  },
  async tools() {
    const runner = client.chat.completions.stream({ model, messages, tools: [tool], tool_choice: "required" });
    const first = await runner.finalChatCompletion();
    const call = first.choices[0].message.tool_calls[0];
    assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ["city"]);
    const result = { role: "tool", tool_call_id: call.id, content: "It is sunny in Seoul." };
    const second = await client.chat.completions.create({
      model, tools: [tool], messages: [...messages, first.choices[0].message, result],
    });
    assert.match(second.choices[0].message.content, /It is sunny in Seoul\./);
  },
  async structured() {
    const answer = await client.chat.completions.create({
      model, messages,
      response_format: { type: "json_schema", json_schema: { name: "city", schema, strict: true } },
    });
    assert.deepEqual(Object.keys(JSON.parse(answer.choices[0].message.content)), ["city"]);
  },
  async image() {
    const content = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url: PIXEL } }];
    const asked = client.chat.completions.create({ model, messages: [{ role: "user", content }] });
    if (kind === "embedded") await assert.rejects(asked, OpenAI.BadRequestError);
    else assert.equal((await asked).choices[0].message.content, "I see a pixel.");
  },
  async embeds() {
    const answer = await client.embeddings.create({ model: "embed", input: ["a", "b"] });
    assert.equal(answer.data.length, 2);
  },
  async models() {
    const names = [];
    for await (const row of client.models.list()) names.push(row.id);
    assert.ok(names.includes(model));
  },
  async errors() {
    await assert.rejects(client.chat.completions.create({ model: "nobody", messages }), OpenAI.NotFoundError);
    await assert.rejects(client.chat.completions.create({ model, messages: [] }), OpenAI.BadRequestError);
  },
  async cancels() {
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    for await (const _ of stream) break;
    assert.ok(stream.controller.signal.aborted);
  },
};

for (const [name, check] of Object.entries(checks)) {
  await check();
  console.log(`ok ${name}`);
}
