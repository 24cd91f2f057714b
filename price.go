package wflo

// Price is a rate table for one model at one moment, in pico-USD (1e-12 USD)
// per token. It is frozen into every ledger entry, so that history does not
// change when prices do.
type Price struct {
	// ID names the row of the price book, such as "openai/gpt-5.4@2026-03-05".
	ID           string `json:"id"`
	Input        int64  `json:"input"`
	CacheRead    int64  `json:"cache_read"`
	CacheWrite5m int64  `json:"cache_write_5m"`
	CacheWrite1h int64  `json:"cache_write_1h"`
	Output       int64  `json:"output"`
	Reasoning    int64  `json:"reasoning"`
	// PerRequest is charged once per call, in nano-USD.
	PerRequest Money `json:"per_request,omitempty"`
	// PerSecond is charged for Usage.Millis, in pico-USD.
	PerSecond int64 `json:"per_second,omitempty"`
}
