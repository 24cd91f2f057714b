package tree

import (
	"context"
	"crypto/sha256"
	"fmt"
)

// contents says which pieces frames hold, and whose they are.
type contents struct {
	nodes  []node
	pieces map[*frame][]piece
	owner  map[*frame]int // the first node that needs it
}

func newContents(nodes []node) *contents {
	c := &contents{nodes: nodes, pieces: map[*frame][]piece{}, owner: map[*frame]int{}}
	seen := map[piece]bool{}
	for i := range nodes {
		for _, p := range nodes[i].pieces {
			if seen[p] {
				continue
			}
			seen[p] = true
			if _, ok := c.owner[p.in]; !ok {
				c.owner[p.in] = i
			}
			c.pieces[p.in] = append(c.pieces[p.in], p)
		}
	}
	return c
}

func (c *contents) nameOf(f *frame) []byte { return c.nodes[c.owner[f]].Name }

// readPack reads a pack whole. name is that of a file in it.
func (w *Workspace) readPack(ctx context.Context, p *pack, name []byte) ([]byte, error) {
	data, err := w.blobs.Get(ctx, p.key)
	if err != nil {
		return nil, unread(fmt.Sprintf("the content of %.200q (pack %.12s)", name, p.key), err)
	}
	if len(data) != int(p.size) {
		return nil, damaged("the content of %.200q is damaged: pack %.12s has %d bytes, not %d", name, p.key, len(data), p.size)
	}
	return data, nil
}

// openFrame decompresses a frame of a pack into buf and hashes every piece of it that
// the tree needs.
func (w *Workspace) openFrame(c *contents, f *frame, data, buf []byte) ([]byte, error) {
	raw, err := w.codec.open(data[f.at:f.at+f.n], buf, int(f.raw))
	if err != nil {
		return nil, damaged("the content of %.200q is damaged: a frame of pack %.12s: %w", c.nameOf(f), f.pack.key, err)
	}
	for _, p := range c.pieces[f] {
		if sum(sha256.Sum256(raw[p.at:p.at+p.n])) != p.sum {
			return nil, damaged("the content of %.200q is damaged: a piece in pack %.12s has another hash", c.holder(p), f.pack.key)
		}
	}
	return raw, nil
}

// holder finds the name of the first file with a piece.
func (c *contents) holder(p piece) []byte {
	for i := range c.nodes {
		for _, q := range c.nodes[i].pieces {
			if q == p {
				return c.nodes[i].Name
			}
		}
	}
	return nil
}
