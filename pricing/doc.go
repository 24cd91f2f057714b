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
// Whoever keeps a price file checks it with [Check], which gives the line of every
// mistake, compares two books with [Diff], refuses what moved too far with
// [Change.Beyond], and adds the rows of one file to another with [Merge].
// [Book.Describe] tells all that is known of a model, [PerMillion] and [PerSecond]
// write rates as the file has them, and [Floor] is the other end of [Estimate]:
// the least that a call is billed.
//
// The package refuses to guess. A model without a row, a row that is not in
// force, and a row that is not priced in what wflo.Usage counts (PaLM's
// characters, searches) are an error, never a price of zero: an unpriced model
// that counts as free switches every budget off. A free model needs a row that
// says so.
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
// # Time, requests and service tiers
//
// A row may also cost per request and per second (wflo.Usage.Millis), besides its
// tokens or, with the unit request or second, instead of them. No prompt bounds
// the time that a call takes, so [Estimate] of such a price is more than any
// budget holds; [EstimateWithin] and [MaxOutputWithin] take the bound.
//
// Providers bill by the service that answered: batch, flex, priority, fast, data
// that stays in a region. The response says which (wflo.Reply.Tier), and
// [WithTier] puts it behind the model's name, under which Find and FindWorst know
// its rates. A tier without a price is refused unless it is never dearer than the
// standard service, so that no dear call is charged as a cheap one. A reservation
// reckons with dearer regions, because the account's settings choose them and not
// the request.
//
// README.md says how to write all that and how to keep the book fresh.
package pricing
