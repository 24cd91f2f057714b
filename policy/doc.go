// Package policy decides what an agent may do: it judges facts about a step, a
// model call, a program or a gate, and says allow, audit, notify, require approval
// or halt.
//
// [Load] reads policies from a file and reports every mistake in it; [New] makes
// the same from Go values. [Set.Judge] gives the ruling. The package knows nothing
// about Temporal: the same set can be tested with [RunTests], explained with
// [Set.Explain] and compared with its successor by [Set.Simulate].
//
// Conditions are written in the expression language expr, and read by its lexer and
// parser. They are checked and judged here and not by its virtual machine, because
// a guard must not pass quietly: there, a missing value is unequal to everything, a
// number that is not one is less than everything, and amounts are binary
// fractions. Here each of these is an error, an error is a match, and dollars are
// compared in nano-dollars.
//
// It refuses clocks, methods, loops within loops, and whatever else would make the
// answer depend on more than the facts, or take longer than a caller can wait.
package policy
