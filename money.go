package wflo

import (
	"fmt"
	"math"
	"strings"
)

// Money is an amount of US dollars in nano-USD (1e-9 USD). The type is signed
// so that head-room can be negative after a limit was lowered; amounts that are
// reserved or charged never are. The largest amount is about 9.2 billion USD.
//
// In JSON, Money is a decimal string of dollars such as "0.0023", because a
// JSON number would be read as a binary float by most tools.
type Money int64

// Units of Money.
const (
	NanoUSD  Money = 1
	MicroUSD       = 1000 * NanoUSD
	Cent           = 10_000 * MicroUSD
	USD            = 100 * Cent
)

const moneyDigits = 9

// ParseMoney reads a decimal dollar amount such as "5", "5.00", "$0.0023" or
// "-1.5". More than nine decimals, exponents, and amounts outside Money are
// errors: nothing is rounded silently.
func ParseMoney(s string) (Money, error) {
	text := strings.TrimPrefix(strings.TrimSpace(s), "$")
	digits, negative := strings.CutPrefix(text, "-")
	digits = strings.TrimPrefix(digits, "$")
	whole, frac, _ := strings.Cut(digits, ".")
	if whole == "" && frac == "" {
		return 0, fmt.Errorf("amount %q: want dollars such as 5.00", s)
	}
	if len(frac) > moneyDigits {
		return 0, fmt.Errorf("amount %q: more than %d decimals", s, moneyDigits)
	}
	frac += strings.Repeat("0", moneyDigits-len(frac))
	var n int64
	for _, r := range whole + frac {
		if r < '0' || r > '9' {
			return 0, fmt.Errorf("amount %q: want dollars such as 5.00", s)
		}
		d := int64(r - '0')
		if n > (math.MaxInt64-d)/10 {
			return 0, fmt.Errorf("amount %q: larger than %s", s, Money(math.MaxInt64))
		}
		n = n*10 + d
	}
	if negative {
		n = -n
	}
	return Money(n), nil
}

// String shows the amount with a dollar sign, at least two decimals and no
// trailing zeros beyond them: "$5.00", "$0.0023".
func (m Money) String() string {
	if m < 0 {
		return "-$" + strings.TrimPrefix(m.Decimal(), "-")
	}
	return "$" + m.Decimal()
}

// Decimal is String without the dollar sign.
func (m Money) Decimal() string {
	sign := ""
	u := uint64(m)
	if m < 0 {
		sign, u = "-", -u
	}
	frac := fmt.Sprintf("%09d", u%uint64(USD))
	frac = frac[:2] + strings.TrimRight(frac[2:], "0")
	return fmt.Sprintf("%s%d.%s", sign, u/uint64(USD), frac)
}

// Float is the amount in dollars for displays and metrics. It is not exact and
// must never flow back into a ledger.
func (m Money) Float() float64 { return float64(m) / float64(USD) }

// MarshalText writes the decimal form.
func (m Money) MarshalText() ([]byte, error) { return []byte(m.Decimal()), nil }

// UnmarshalText reads what ParseMoney reads.
func (m *Money) UnmarshalText(b []byte) error {
	parsed, err := ParseMoney(string(b))
	if err != nil {
		return err
	}
	*m = parsed
	return nil
}
