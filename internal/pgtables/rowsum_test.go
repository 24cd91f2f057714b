package pgtables

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func sumOf(key sumKey, rows []string) string {
	s := newRowSum(key)
	for _, r := range rows {
		s.add([]byte(r + "\n"))
	}
	return s.hex()
}

// Whatever differs but the order is another sum, and nobody knows the sums of a restore
// before it.
func TestRowSums(t *testing.T) {
	key := newSumKey()
	rows := make([]string, 1000)
	for i := range rows {
		rows[i] = fmt.Sprintf("%d\trow", i)
	}
	want := sumOf(key, rows)
	all := newRowSum(key)
	if n := all.addAll([]byte(strings.Join(rows, "\n") + "\n")); n != 1000 || all.hex() != want {
		t.Errorf("%d rows at once are %s, one by one %s", n, all.hex(), want)
	}
	mixed := slices.Clone(rows)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
	if got := sumOf(key, mixed); got != want {
		t.Errorf("another order is %s, not %s", got, want)
	}
	for what, other := range map[string][]string{
		"a changed row":        append([]string{"0\trox"}, rows[1:]...),
		"a row less":           rows[1:],
		"a row twice":          append([]string{rows[1]}, rows[1:]...),
		"values of other rows": append([]string{"0\tro", "w1\trow"}, rows[2:]...),
		"no row":               nil,
	} {
		if sumOf(key, other) == want {
			t.Errorf("%s has the same sum", what)
		}
	}
	if next := newSumKey(); bytes.Equal(next, key) || sumOf(next, rows) == want || sumOf(nil, rows) == want {
		t.Error("the sum does not depend on the key")
	}
}
