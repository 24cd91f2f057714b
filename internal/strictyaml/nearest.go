package strictyaml

import "strings"

// Nearest is the known name that was probably meant, or "". Names that are longer than
// three letters may differ in two, others in one.
func Nearest(name string, known []string) string {
	best, least := "", 3
	if len([]rune(name)) <= 3 {
		least = 2
	}
	for _, k := range known {
		if d := distance(strings.ToLower(name), k, least); d < least && k != "" {
			best, least = k, d
		}
	}
	return best
}

// distance counts the letters to insert, remove or replace between a and b, as far
// as it is below most: Levenshtein's distance.
func distance(a, b string, most int) int {
	if len(a) >= len(b)+most || len(b) >= len(a)+most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := left
			if a[i] != b[j] {
				cost++
			}
			left, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
