package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

const (
	customers  = 900
	background = 2900 // charges that nothing is planted on
	month      = 31 * 24 * time.Hour
)

// charge is one row. Charges of one order share the order.
type charge struct {
	id       string
	order    *order
	customer string
	card     string
	cents    int
	currency string
	at       time.Time
	status   string
	channel  string
	kind     string // of what was planted; empty for the background
	refund   bool   // a duplicate that must be refunded
}

type order struct{ id string }

type buyer struct {
	id       string
	cards    []string
	currency string
}

// plan plants rows on background charges: each row is the base charge with
// changes, so many times.
type plan struct {
	kind   string
	times  int
	refund bool
	// same keeps the order of the base, as a retried payment does.
	same bool
	// after is when the planted charge follows, from least to most.
	least, most time.Duration
	// change, if any, makes the difference that matters.
	change func(r *random, base, planted *charge)
}

var plans = []plan{
	// The duplicates: each is to be refunded.
	{kind: "payment retried", times: 5, refund: true, same: true, least: 20 * time.Second, most: 90 * time.Second},
	{kind: "checkout sent twice", times: 5, refund: true, least: 5 * time.Second, most: 240 * time.Second},
	{kind: "payment retried late", times: 1, refund: true, same: true, least: 6 * time.Minute, most: 9 * time.Minute},

	// What looks like one: the customer wanted it, or has the money already.
	{kind: "bought again next day", times: 4, least: 23 * time.Hour, most: 25 * time.Hour},
	{kind: "subscription", times: 4, least: 7 * 24 * time.Hour, most: 7*24*time.Hour + time.Second},
	{kind: "bought again after a while", times: 4, least: 14 * time.Minute, most: 40 * time.Minute},
	{kind: "other currency", times: 3, least: 30 * time.Second, most: 4 * time.Minute, change: func(_ *random, _, c *charge) {
		c.currency = map[string]string{"EUR": "USD", "USD": "GBP", "GBP": "EUR"}[c.currency]
	}},
	{kind: "other card", times: 3, least: 30 * time.Second, most: 4 * time.Minute, change: func(r *random, b, c *charge) {
		for c.card == b.card {
			c.card = r.digits(4)
		}
	}},
	{kind: "other amount", times: 3, least: 30 * time.Second, most: 4 * time.Minute, change: func(_ *random, _, c *charge) { c.cents += 100 }},
	{kind: "other customer", times: 3, least: 10 * time.Second, most: time.Minute, change: func(_ *random, b, c *charge) {
		c.customer = "cus_9" + b.customer[len("cus_9"):]
	}},
	{kind: "already refunded", times: 4, same: true, least: 20 * time.Second, most: 4 * time.Minute, change: func(_ *random, _, c *charge) { c.status = refunded }},
	{kind: "the first was refunded", times: 3, same: true, least: 20 * time.Second, most: 4 * time.Minute, change: func(_ *random, b, _ *charge) { b.status = refunded }},
	{kind: "the first was declined", times: 5, same: true, least: 20 * time.Second, most: 4 * time.Minute, change: func(_ *random, b, _ *charge) { b.status = failed }},
	{kind: "declined itself", times: 3, same: true, least: 20 * time.Second, most: 4 * time.Minute, change: func(_ *random, _, c *charge) { c.status = failed }},
}

const (
	captured = "captured"
	refunded = "refunded"
	failed   = "failed"
)

// generate makes all rows, in the order of time.
func generate(seed uint64) []*charge {
	r := &random{state: seed}
	charges := everyday(r, buyersOf(r))
	charges = plant(r, charges)
	slices.SortFunc(charges, func(a, b *charge) int {
		return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.customer, b.customer))
	})
	next := 100001
	for _, c := range charges {
		c.id = "ch_" + r.letters(10)
		if c.order.id == "" {
			c.order.id = fmt.Sprintf("ord_%d", next)
			next++
		}
	}
	return charges
}

func buyersOf(r *random) []buyer {
	all := make([]buyer, customers)
	for i := range all {
		all[i] = buyer{id: fmt.Sprintf("cus_%04d", i+1), cards: []string{r.digits(4)}, currency: "EUR"}
		if r.below(5) == 0 {
			all[i].cards = append(all[i].cards, r.digits(4))
		}
		switch n := r.below(10); {
		case n == 0:
			all[i].currency = "GBP"
		case n < 4:
			all[i].currency = "USD"
		}
	}
	return all
}

// catalogue holds the shop's prices in cents.
var catalogue = []int{
	490, 790, 990, 1250, 1290, 1490, 1590, 1790, 1900, 1990, 2190, 2490, 2790, 2900, 2990, 3290, 3450, 3990,
	4490, 4900, 4990, 5490, 5990, 6490, 6990, 7900, 8450, 8990, 9900, 11900, 12900, 14900, 17900, 19900, 24900, 34900,
}

var start = time.Date(2026, time.March, 1, 0, 0, 0, 0, time.UTC)

// everyday makes the background. A customer's charges lie at least an hour
// apart, so that what repeats within minutes was planted.
func everyday(r *random, buyers []buyer) []*charge {
	var charges []*charge
	times := map[string][]time.Time{}
	for len(charges) < background {
		b := buyers[r.below(len(buyers))]
		at := start.Add(time.Duration(r.below(int(month/time.Second))) * time.Second)
		// Few people buy at night.
		if at.Hour() < 6 && r.below(8) > 0 || crowded(times[b.id], at) {
			continue
		}
		times[b.id] = append(times[b.id], at)
		c := &charge{
			order: new(order), customer: b.id, card: b.cards[r.below(len(b.cards))], currency: b.currency, at: at, status: captured,
			cents: catalogue[r.below(len(catalogue))] * (1 + r.below(8)/7), channel: []string{"web", "web", "app"}[r.below(3)],
		}
		if c.cents < 5000 {
			c.cents += 490 // shipping
		}
		switch n := r.below(100); {
		case n < 3:
			c.status = refunded
		case n < 6:
			c.status = failed
		}
		charges = append(charges, c)
	}
	return charges
}

func crowded(taken []time.Time, at time.Time) bool {
	return slices.ContainsFunc(taken, func(t time.Time) bool { return at.Sub(t).Abs() < time.Hour })
}

// plant adds the planned rows, each on a customer of its own, and one charge
// that was made three times.
func plant(r *random, charges []*charge) []*charge {
	used := map[string]bool{}
	base := func() *charge {
		for {
			c := charges[r.below(background)]
			if c.status == captured && !used[c.customer] && c.at.Before(start.Add(month-8*24*time.Hour)) {
				used[c.customer] = true
				return c
			}
		}
	}
	for _, p := range plans {
		for range p.times {
			charges = append(charges, p.on(r, base()))
		}
	}
	three := plan{kind: "charged three times", refund: true, same: true, least: 15 * time.Second, most: 60 * time.Second}
	first := base()
	second := three.on(r, first)
	return append(charges, second, three.on(r, second))
}

func (p plan) on(r *random, base *charge) *charge {
	c := *base
	if !p.same {
		c.order = new(order)
	}
	c.kind, c.refund = p.kind, p.refund
	c.at = base.at.Add(p.least + time.Duration(r.below(int((p.most-p.least)/time.Second)))*time.Second)
	if p.change != nil {
		p.change(r, base, &c)
	}
	return &c
}
