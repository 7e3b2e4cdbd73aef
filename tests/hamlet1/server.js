// A stand-in for hamlet1, the Node monolith that hamlet replaces. No dependencies.
//
//   UPSTREAM=http://127.0.0.1:9000/v1 PORT=0 node server.js      prints the port it listens on
//
// With WRITER (a base URL like UPSTREAM) a model writes the chips, with SEARCH (a SearXNG) the links
// are searched for, and each is awaited; without them, both come from the tables below.
//
// Existing frontends rely on these properties of its API:
//   - invalid requests get status 200 with {"ok": false, "error": {"code": "E_...", "msg": ...}}
//   - messages have a "sender" (user, bot, system) and a "text"; responses have their duration as "took"
//   - streams consist of named events (token, done, error), with a bare ":" as the heartbeat
//   - related links are a bare array, which is [] on errors
//   - times are milliseconds; JSON ends in a line break; all responses have an x-powered-by header
'use strict';
const http = require('node:http');
const zlib = require('node:zlib');
const { URL } = require('node:url');

const upstream = process.env.UPSTREAM;
const writer = process.env.WRITER;
const search = process.env.SEARCH;
const agent = new http.Agent({ keepAlive: true });
const fault = { delayMs: 0, status: 0 };
let served = 0;

const FINISH = { stop: 'stop', length: 'length', content_filter: 'filtered', tool_calls: 'tool' };
const ROLES = { user: 'user', bot: 'assistant', system: 'system' };
const LINKS = {
  en: [['Python tutorial', 'https://docs.python.org/3/tutorial/', 'Learn Python'],
    ['MDN Web Docs', 'https://developer.mozilla.org/', 'The web platform'],
    ['Wikipedia', 'https://en.wikipedia.org/', 'The free encyclopedia']],
  ko: [['위키백과', 'https://ko.wikipedia.org/', '우리 모두의 백과사전'],
    ['서울교통공사', 'http://www.seoulmetro.co.kr/', '지하철 안내'],
    ['기상청 날씨누리', 'https://www.weather.go.kr/', '오늘의 날씨']],
  ja: [['ウィキペディア', 'https://ja.wikipedia.org/', 'フリー百科事典'],
    ['気象庁', 'https://www.jma.go.jp/', '天気予報']],
};
const CHIPS = {
  en: ['Tell me more', 'Give me an example', 'Make it shorter', 'What should I do next?'],
  ko: ['더 자세히 알려줘', '예를 들어줘', '짧게 줄여줘', '다음에는 뭘 하면 돼?'],
  ja: ['もっと詳しく', '例を挙げて', '短くして', '次は何をすればいい?'],
};

function send(res, status, body, headers = {}) {
  const text = Buffer.from(JSON.stringify(body) + '\n');
  res.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8', 'Content-Length': text.length, 'X-Powered-By': 'Hamlet/1', ...headers });
  res.end(text);
}

const fail = (res, code, msg, status = 200) => send(res, status, { ok: false, error: { code, msg }, ts: Date.now() });

function read(req) {
  return new Promise((resolve, reject) => {
    const parts = [];
    req.on('data', (part) => parts.push(part)).on('end', () => resolve(Buffer.concat(parts))).on('error', reject);
  });
}

function callModel(body, signal, base = upstream) {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(body);
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) };
    const req = http.request(`${base}/chat/completions`, { method: 'POST', headers, agent, signal }, resolve);
    req.on('error', reject);
    req.end(text);
  });
}

function validate(body) {
  if (!Array.isArray(body.messages) || body.messages.length === 0) return 'messages: a list is needed';
  if (!body.messages.every((m) => m && ROLES[m.sender] && typeof m.text === 'string')) return 'messages: each has sender and text';
  return null;
}

async function chat(req, res, body) {
  const started = Date.now();
  const problem = validate(body);
  if (problem) return fail(res, 'E_VALIDATION', problem);
  const sent = {
    model: 'vendor-model',
    messages: body.messages.map((m) => ({ role: ROLES[m.sender], content: m.text })),
    stream: Boolean(body.stream),
    ...(body.maxLength ? { max_tokens: body.maxLength } : {}),
    ...(body.temperature === undefined ? {} : { temperature: body.temperature }),
    ...(body.stream ? { stream_options: { include_usage: true } } : {}),
  };
  const disconnected = new AbortController();
  res.on('close', () => { if (!res.writableFinished) disconnected.abort(); });
  let answer;
  try {
    answer = await callModel(sent, disconnected.signal);
  } catch {
    if (!res.destroyed) fail(res, 'E_UPSTREAM', 'the model cannot be reached', 502);
    return;
  }
  if (answer.statusCode !== 200) {
    answer.resume();
    return fail(res, answer.statusCode === 429 ? 'E_RATE' : 'E_UPSTREAM', 'the model refused', answer.statusCode === 429 ? 429 : 502);
  }
  const id = `r_${started.toString(36)}${(served++).toString(36)}`;
  return sent.stream ? sendStream(res, answer, id) : sendReply(res, answer, id, started);
}

async function sendReply(res, answer, id, started) {
  const { choices, usage = {} } = JSON.parse(await read(answer));
  const finish = FINISH[choices[0].finish_reason] || 'stop';
  const text = finish === 'filtered' ? null : choices[0].message.content;
  const counts = { in: usage.prompt_tokens || 0, out: usage.completion_tokens || 0 };
  send(res, 200, { ok: true, reply: { text, finish }, usage: counts, id, ts: Date.now(), took: Date.now() - started });
}

async function sendStream(res, answer, id) {
  res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache', 'X-Powered-By': 'Hamlet/1' });
  const heartbeat = setInterval(() => res.write(':\n\n'), 5000);
  const event = (name, data) => res.write(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
  let rest = '';
  let finish = 'stop';
  let usage = { in: 0, out: 0 };
  let complete = false;
  try {
    answer.setEncoding('utf8');
    for await (const piece of answer) {
      const lines = (rest + piece).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith('data: ')) continue;
        if (line === 'data: [DONE]') { complete = true; continue; }
        const chunk = JSON.parse(line.slice(6));
        if (chunk.usage) usage = { in: chunk.usage.prompt_tokens, out: chunk.usage.completion_tokens };
        const choice = chunk.choices && chunk.choices[0];
        if (!choice) continue;
        if (choice.delta && choice.delta.content) event('token', { t: choice.delta.content });
        if (choice.finish_reason) finish = FINISH[choice.finish_reason] || 'stop';
      }
    }
  } catch { /* a broken stream is reported below */ }
  clearInterval(heartbeat);
  if (complete) event('done', { finish, usage, id });
  else event('error', { ok: false, error: { code: 'E_UPSTREAM', msg: 'the model broke off' } });
  res.end();
}

async function searchLinks(fields) {
  const answer = await new Promise((resolve, reject) => {
    http.get(`${search}/search?format=json&q=${encodeURIComponent(fields.q)}`, { agent }, resolve).on('error', reject);
  });
  const { results } = JSON.parse(await read(answer));
  return results.slice(0, 3).map((row) => [row.title, row.url, row.content]);
}

async function writeChips(body) {
  const content = `Write 4 suggestions of what the user would type next, one JSON object {"t", "p"} a line.\n${body.q}`;
  const answer = await callModel({ model: 'writer', messages: [{ role: 'user', content }] }, undefined, writer);
  const { choices } = JSON.parse(await read(answer));
  return choices[0].message.content.split('\n').filter(Boolean).map((line) => JSON.parse(line))
    .map(({ t, p }) => ({ label: t, prompt: p }));
}

async function related(res, fields) {
  const rows = search && fields.q ? await searchLinks(fields).catch(() => [])
    : LINKS[fields.lang] || (typeof fields.q === 'string' && fields.q ? LINKS.en : []);
  send(res, 200, rows.map(([title, href, desc]) => ({ title, href, desc, lang: fields.lang || 'en' })));
}

async function chips(res, body) {
  const fixed = (CHIPS[body.lang] || CHIPS.en).map((label) => ({ label, prompt: label }));
  const rows = writer && body.q ? await writeChips(body) : fixed;
  send(res, 200, { ok: true, chips: rows, n: rows.length });
}

// Paths that hamlet does not take over; they show whether a proxy forwards every byte.
function serveOther(req, res, url, body) {
  if (url.pathname === '/api/profile') {
    res.setHeader('Set-Cookie', ['sid=abc; Path=/; HttpOnly', 'seen=1; Path=/']);
    return send(res, 200, { ok: true, name: 'Ophelia', asked: url.search }, { ETag: '"p1"' });
  }
  if (url.pathname === '/api/upload') return send(res, 201, { ok: true, bytes: body.length, type: req.headers['content-type'] });
  if (url.pathname === '/assets/app.js') {
    const packed = zlib.gzipSync('console.log("hamlet1");'.repeat(200));
    res.writeHead(200, { 'Content-Type': 'text/javascript', 'Content-Encoding': 'gzip', Vary: 'accept-encoding' });
    return res.end(packed);
  }
  return fail(res, 'E_NOT_FOUND', `${req.method} ${url.pathname}`, 404);
}

async function serve(req, res) {
  const url = new URL(req.url, 'http://hamlet1');
  if (url.pathname === '/health') { res.end('OK'); return; }
  const raw = await read(req);
  if (url.pathname === '/_fault') { Object.assign(fault, JSON.parse(raw)); res.end('{}'); return; }
  if (fault.delayMs) await new Promise((done) => setTimeout(done, fault.delayMs));
  if (fault.status) { fail(res, 'E_FAULT', 'asked for', fault.status); return; }
  const endpoint = `${req.method} ${url.pathname}`;
  if (!['POST /api/chat', 'POST /api/related', 'GET /api/related', 'POST /api/chips'].includes(endpoint)) { serveOther(req, res, url, raw); return; }
  let body = Object.fromEntries(url.searchParams);
  if (req.method === 'POST') {
    try { body = JSON.parse(raw); } catch { body = null; }
    if (body === null || typeof body !== 'object') { fail(res, 'E_JSON', 'the body is no JSON object'); return; }
  }
  if (url.pathname === '/api/chat') await chat(req, res, body);
  else if (url.pathname === '/api/related') await related(res, body);
  else await chips(res, body);
}

const server = http.createServer((req, res) => {
  serve(req, res).catch(() => (res.headersSent ? res.destroy() : fail(res, 'E_INTERNAL', 'sorry', 500)));
});
server.keepAliveTimeout = 75000;
server.listen(Number(process.env.PORT || 0), '127.0.0.1', () => console.log(server.address().port));
process.on('SIGTERM', () => { server.close(() => process.exit(0)); server.closeIdleConnections(); });
