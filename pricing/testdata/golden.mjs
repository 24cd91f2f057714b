// Makes golden.json from second_source.json: what calls cost at the rates that
// others have, for every row that does not differ from our book. The arithmetic
// is its own: whole millionths of a dollar per million tokens, times tokens, in
// big integers, rounded up to nano-USD once.
//
//	node golden.mjs second_source.json > golden.json
import fs from 'node:fs';

const source = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const buckets = { input: 'input', cache_read: 'cache_read', cache_write_5m: 'cache_write_5m', cache_write_1h: 'cache_write_1h', output: 'output' };

// USD per million tokens in pico-USD per token.
function pico(text) {
  const [whole, frac = ''] = text.split('.');
  return BigInt(whole) * 1000000n + BigInt(frac.padEnd(6, '0'));
}

// Other numbers in every line, so that no line can pass by chance.
function tokens(i, bucket) {
  const n = { input: 1009, cache_read: 20011, cache_write_5m: 3001, cache_write_1h: 809, output: 607 }[bucket];
  return n + 13 * i;
}

function vector(row, i, rates, size) {
  const usage = {}, sum = [];
  let total = 0n, prompt = 0;
  for (const b of Object.keys(buckets)) {
    if (rates[b] === undefined) continue;
    usage[b] = tokens(i, b);
    if (b !== 'output') prompt += usage[b];
  }
  if (size > prompt) usage.input += size - prompt;
  for (const [b, n] of Object.entries(usage)) {
    total += BigInt(n) * pico(rates[b]);
    sum.push(n + '*' + rates[b]);
  }
  const nano = (total + 999n) / 1000n;
  return { model: row.model, source: row.source, sum: sum.join(' + '), usage, nano: Number(nano) };
}

const vectors = [];
source.rates.forEach((row, i) => {
  if (row.differs) return;
  vectors.push(vector(row, i, row.rates, 0));
  for (const [size, rates] of Object.entries(row.tiers ?? {})) vectors.push(vector(row, i, { ...row.rates, ...rates }, Number(size)));
});
console.log('{\n"day": "' + source.day + '",\n"vectors": [\n' + vectors.map((v) => JSON.stringify(v)).join(',\n') + '\n]\n}');
