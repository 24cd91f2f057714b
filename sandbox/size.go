package sandbox

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/wflo-ai/wflo-go"
)

// Units of memory in bytes.
const (
	KiB = 1 << 10
	MiB = 1 << 20
	GiB = 1 << 30
)

// ParseSize reads an amount of memory as people write it: "512m", "1.5g",
// "64KiB", "1048576". Units are powers of 1024 and case does not matter; at most
// three decimals are taken, rounded down to the byte.
func ParseSize(s string) (int64, error) {
	bad := func(problem string) (int64, error) {
		return 0, wflo.Invalid("size", fmt.Sprintf("%.40q %s", s, problem), "write it like 512m, 1.5g or 65536")
	}
	number := strings.TrimRight(s, "bBiIkKmMgGtT ")
	shift, ok := map[string]uint{
		"": 0, "b": 0, "k": 10, "kb": 10, "kib": 10, "m": 20, "mb": 20, "mib": 20,
		"g": 30, "gb": 30, "gib": 30, "t": 40, "tb": 40, "tib": 40,
	}[strings.ToLower(strings.TrimSpace(s[len(number):]))]
	if !ok {
		return bad("has an unknown unit")
	}
	whole, fraction, dotted := strings.Cut(number, ".")
	if dotted && (fraction == "" || len(fraction) > 3) {
		return bad("has no or too many decimals")
	}
	milli, err := strconv.ParseUint(whole+(fraction + "000")[:3], 10, 64)
	if err != nil || whole == "" || strings.ContainsAny(number, "+-_") {
		return bad("is not a number")
	}
	hi, lo := bits.Mul64(milli, 1<<shift)
	if hi >= 1000 {
		return bad("is too large")
	}
	n, _ := bits.Div64(hi, lo, 1000)
	if n > math.MaxInt64 {
		return bad("is too large")
	}
	return int64(n), nil
}

// FormatSize writes n bytes so that ParseSize reads the same number: in the
// largest unit that divides it, such as "512 MiB".
func FormatSize(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{GiB, "GiB"}, {MiB, "MiB"}, {KiB, "KiB"}} {
		if n != 0 && n%u.size == 0 {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}
