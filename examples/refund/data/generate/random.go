package main

// random is SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom
// number generators", 2014). It is fixed here for ever; generators of libraries
// may change with their version.
type random struct{ state uint64 }

func (r *random) next() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below gives a number from 0 to n-1. The bias of the remainder does not matter
// for numbers as small as ours.
func (r *random) below(n int) int { return int(r.next() % uint64(n)) }

func (r *random) digits(n int) string { return r.pick(n, "0123456789") }

// letters leaves out what people mistake for something else.
func (r *random) letters(n int) string { return r.pick(n, "ABCDEFGHJKLMNPQRSTUVWXYZ23456789") }

func (r *random) pick(n int, from string) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = from[r.below(len(from))]
	}
	return string(b)
}
