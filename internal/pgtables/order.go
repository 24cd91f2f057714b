package pgtables

import (
	"fmt"
	"slices"
	"strings"
)

// link is a foreign key to a table of the set.
type link struct {
	name string
	// from is the place of the table that refers, in the set; -1 for one outside.
	from, to   int
	fromName   string // for people
	deferrable bool
	// action is what a delete does, in the letters of pg_constraint: a and r refuse it,
	// c deletes, n and d change what refers.
	action string
	query  string // whether there is a row that a restore must not touch
}

// waits says that the constraint looks at the end, when all rows are there again.
func (l *link) waits() bool { return l.deferrable && l.action == "a" }

// order gives an order in which the rows of so many tables can be deleted: what refers
// goes before what it refers to. Rows come back in the reverse order. Circles are cut
// at constraints that wait.
func order(tables []table, links []link) ([]int, error) {
	inside := slices.DeleteFunc(slices.Clone(links), func(l link) bool { return l.from < 0 || l.from == l.to })
	left := make([]bool, len(tables))
	for i := range left {
		left[i] = true
	}
	var done []int
	for len(done) < len(tables) {
		next := free(left, inside)
		if next < 0 {
			before := len(inside)
			inside = slices.DeleteFunc(inside, func(l link) bool { return left[l.from] && left[l.to] && l.waits() })
			if len(inside) == before {
				return nil, circle(tables, left, inside)
			}
			continue
		}
		left[next] = false
		done = append(done, next)
	}
	return done, nil
}

// free finds the first table to which none that is left refers; -1 without one.
func free(left []bool, links []link) int {
	for i := range left {
		if left[i] && !slices.ContainsFunc(links, func(l link) bool { return l.to == i && left[l.from] }) {
			return i
		}
	}
	return -1
}

func circle(tables []table, left []bool, links []link) error {
	// What nothing refers to from the circle is not part of it.
	var names []string
	for _, l := range links {
		if left[l.from] && left[l.to] {
			names = append(names, fmt.Sprintf("%s of %s", showPart(l.name), tables[l.from].show()))
		}
	}
	slices.Sort(names)
	return refused("make one of them DEFERRABLE, without RESTRICT or an action on delete",
		"the tables refer to each other in a circle that cannot be deferred: constraints %s", strings.Join(slices.Compact(names), ", "))
}
