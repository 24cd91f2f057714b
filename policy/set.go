package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/wflo-ai/wflo-go"
)

// defaultRule is the name of the default in records.
const defaultRule = "default"

// Set is policies that were checked. It never changes, and any number of goroutines
// may use it at the same time.
type Set struct {
	rules    Rules
	policies []compiled
	risk     []compiled
	source   []byte
	hash     string
}

// compiled is a policy or a risk rule with its condition.
type compiled struct {
	*condition
	name   string
	effect wflo.Effect
	// on are the kinds that it judges.
	on []wflo.FactsKind
	// at is where its condition begins, for lint.
	at Position
}

// New makes a set from Go values. What is wrong with them is a Problems.
func New(r Rules) (*Set, error) {
	b := &builder{rules: cloneRules(r)}
	return b.build()
}

// Rules are what the set was made from.
func (s *Set) Rules() Rules { return cloneRules(s.rules) }

// Source is the set in its canonical form: JSON, which is YAML too. Load reads it
// as a set of the same hash.
func (s *Set) Source() []byte { return bytes.Clone(s.source) }

// Hash is the SHA-256, in hex, of Source: what records name the set by.
func (s *Set) Hash() string { return s.hash }

// places say where things stand in the file; nil for Go values.
type places interface {
	// field gives the place of a field of a policy or risk rule, condition that of a
	// character of its condition.
	field(risk bool, i int, name string) (at Position, exact bool)
	condition(risk bool, i, at int) Position
	broken(risk bool, i int) bool
	excerpt(p Position, hide bool) string
}

// builder checks rules and compiles them, and collects all that is wrong.
type builder struct {
	rules    Rules
	places   places
	problems Problems
}

func (b *builder) build() (*Set, error) {
	switch b.rules.Default {
	case wflo.EffectAllow, wflo.EffectApproval, wflo.EffectHalt:
	case "":
		if b.places == nil {
			b.add(Position{}, "", "Default is empty", "use EffectAllow, EffectApproval or EffectHalt", true)
		}
	default:
		at, _ := b.field(false, -1, "default")
		b.add(at, "", fmt.Sprintf("default is %q", cut(string(b.rules.Default), 60)), "use allow, require_approval or halt", false)
	}
	s := &Set{rules: b.rules}
	for i := range b.rules.Risk {
		if r := &b.rules.Risk[i]; r.Name == "" {
			r.Name = fmt.Sprintf("risk-%d", i+1)
		}
	}
	b.checkNames()
	for i := range b.rules.Policies {
		r := &b.rules.Policies[i]
		b.checkFields(false, i, r.Name, r.check)
		s.policies = append(s.policies, b.compile(false, i, r.Name, r.When, r.effect(), kindsOf(r)))
	}
	for i := range b.rules.Risk {
		r := &b.rules.Risk[i]
		b.checkFields(true, i, r.Name, r.check)
		s.risk = append(s.risk, b.compile(true, i, r.Name, r.When, r.effect(), []wflo.FactsKind{wflo.FactsGate}))
	}
	if len(b.problems) > 0 {
		b.problems.sort()
		return nil, b.problems
	}
	if err := s.seal(); err != nil {
		return nil, err
	}
	return s, nil
}

// seal adds what follows from the rules.
func (s *Set) seal() error {
	for i := range s.policies {
		if p := &s.policies[i]; p.readsTime() && !slices.Contains(p.on, wflo.FactsTime) {
			p.on = append(slices.Clone(p.on), wflo.FactsTime)
		}
	}
	var err error
	if s.source, err = s.rules.canonical(); err != nil { // of Go values: a file is Unicode
		return Problems{{Message: "the policies cannot be written: " + err.Error(), Hint: "use text in UTF-8, and numbers that JSON has"}}
	}
	if len(s.source) > maxFile {
		return Problems{{Message: fmt.Sprintf("the policies have %d bytes in canonical form", len(s.source)), Hint: fmt.Sprintf("use at most %d", maxFile)}}
	}
	sum := sha256.Sum256(s.source)
	s.hash = hex.EncodeToString(sum[:])
	return nil
}

func kindsOf(r *Rule) []wflo.FactsKind {
	if len(r.On) == 0 {
		return stepKinds
	}
	return r.On
}

func (b *builder) checkNames() {
	if n := len(b.rules.Policies) + len(b.rules.Risk); n > maxRules {
		at, _ := b.field(false, -1, "policies")
		b.add(at, "", fmt.Sprintf("there are %d rules", n), fmt.Sprintf("use at most %d", maxRules), true)
	}
	seen := map[string]bool{}
	check := func(risk bool, i int, name string) {
		if seen[name] && name != "" {
			at, _ := b.field(risk, i, "name")
			b.add(at, name, fmt.Sprintf("the name %q is used twice", cut(name, 60)), "use another name", false)
		}
		seen[name] = true
	}
	for i, r := range b.rules.Policies {
		check(false, i, r.Name)
	}
	for i, r := range b.rules.Risk {
		check(true, i, r.Name)
	}
}

func (b *builder) checkFields(risk bool, i int, name string, check func(report func(field, message, hint string))) {
	check(func(field, message, hint string) {
		if field == "do" && b.places != nil && b.places.broken(risk, i) {
			return
		}
		at, exact := b.field(risk, i, field)
		b.add(at, name, message, hint, field == "notify" || field == "do" || !exact)
	})
}

func (b *builder) compile(risk bool, i int, name, when string, effect wflo.Effect, on []wflo.FactsKind) compiled {
	c, faults := compile(when)
	for _, f := range faults {
		var at Position
		if b.places != nil {
			at = b.places.condition(risk, i, f.at)
		}
		b.add(at, name, f.message, f.hint, false)
	}
	out := compiled{condition: c, name: name, effect: effect, on: on}
	if b.places != nil {
		out.at = b.places.condition(risk, i, 0)
	}
	return out
}

func (b *builder) field(risk bool, i int, name string) (at Position, exact bool) {
	if b.places == nil {
		return Position{}, true
	}
	return b.places.field(risk, i, name)
}

func (b *builder) add(at Position, rule, message, hint string, hide bool) {
	p := &Problem{Position: at, Rule: rule, Message: message, Hint: hint}
	if b.places != nil && at.Line > 0 {
		p.Excerpt = b.places.excerpt(at, hide)
	}
	b.problems = append(b.problems, p)
}

// cloneRules copies rules deeply, so that nobody changes a set from outside. It goes
// through the canonical form's types, which know every field.
func cloneRules(r Rules) Rules {
	r.Policies, r.Risk = slices.Clone(r.Policies), slices.Clone(r.Risk)
	for i := range r.Policies {
		p := &r.Policies[i]
		p.On, p.Notify, p.Approval = slices.Clone(p.On), slices.Clone(p.Notify), cloneApproval(p.Approval)
		if p.Halt != nil {
			h := *p.Halt
			p.Halt = &h
		}
	}
	for i := range r.Risk {
		p := &r.Risk[i]
		p.Notify, p.Approval = slices.Clone(p.Notify), cloneApproval(p.Approval)
	}
	return r
}

func cloneApproval(a *wflo.Approval) *wflo.Approval {
	if a == nil {
		return nil
	}
	c := *a
	c.Approvers, c.Reminders, c.Answers = slices.Clone(a.Approvers), slices.Clone(a.Reminders), slices.Clone(a.Answers)
	c.Notify, c.Rules, c.Factors, c.Escalation = slices.Clone(a.Notify), slices.Clone(a.Rules), slices.Clone(a.Factors), slices.Clone(a.Escalation)
	c.Payload, c.Form = bytes.Clone(a.Payload), json.RawMessage(bytes.Clone(a.Form))
	for i := range c.Factors {
		c.Factors[i].Approvers = slices.Clone(c.Factors[i].Approvers)
	}
	for i := range c.Escalation {
		c.Escalation[i].Approvers, c.Escalation[i].Notify = slices.Clone(c.Escalation[i].Approvers), slices.Clone(c.Escalation[i].Notify)
	}
	return &c
}
