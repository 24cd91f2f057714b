// Package pricing prices, estimates and compares LLM use: tokens in, money out.
//
// A [Book] holds price rows: which model, in which tokens, at which rates, from
// which day, and where that was read. One is embedded ([Default]); an operator
// lays rows of their own over it with [Parse] and [Book.With], and theirs win.
// A call then needs three things:
//
//   - before it, the most that it can cost: [InputBound] of the prompt, the
//     rates from [Book.FindWorst], and [Estimate]; [MaxOutput] says how long the
//     answer may be for what is left of a budget
//   - after it, what it did cost: the rates from [Book.Find] for the tokens that
//     were billed, and [Cost]
//   - while choosing a model, [Book.Compare]
//
// The package refuses to guess. A model without a row, a row that is not in
// force, and a row that is not priced in text tokens (PaLM's characters, audio,
// searches) are an error, never a price of zero: an unpriced model that counts
// as free switches every budget off. A free model needs a row that says so.
//
// # Rates
//
// Rates are decimal strings of US dollars per million tokens in the file and
// whole pico-USD (1e-12 USD) per token in memory. The conversion is exact; a
// rate with more than six decimals does not load. Where a row leaves out a rate,
// it is filled in with one that does not undercharge, never with zero:
//
//   - cache_read costs what input costs
//   - cache_write_5m costs 1.25 times input if any row of the provider names a
//     cache-write rate, else what input costs
//   - cache_write_1h costs twice input if any row of the provider names a rate
//     for it, else what cache_write_5m costs
//   - reasoning costs what output costs
//   - output, which only an embedding may leave out, costs what input costs
//
// A tier replaces all the rates of its row for the whole request, answer
// included, once the prompt has as many tokens as the tier says. What a tier
// leaves out is filled in from the tier's own rates.
//
// Batch, flex, priority and regional surcharges are not in the book: the drivers
// ask for the standard service only. README.md says how to keep the book fresh.
package pricing
