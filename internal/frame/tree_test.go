package frame

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wflo-ai/wflo-go/sandbox"
)

// records are one of each kind.
func records() []TreeRecord {
	file := Node{
		Kind: sandbox.TreeFile, Mode: 0o4755, Size: 1 << 40, MTime: Moment{-1 << 40, 999_999_999}, CTime: Moment{1 << 33, 7}, Room: 8192,
		Dev: 1, Ino: 1 << 63, Links: 2, Name: []byte("d/\xff\nf"), Extents: []sandbox.Extent{{Offset: 0, Length: 4096}, {Offset: 1 << 39, Length: 1}},
	}
	empty := file
	empty.Extents = []sandbox.Extent{}
	link := Node{Kind: sandbox.TreeSymlink, Mode: 0o777, Name: []byte("l"), Target: []byte("../x")}
	return []TreeRecord{
		{Op: OpNode, Node: file}, {Op: OpNode, Node: link}, {Op: OpWant, Index: 1 << 40, Data: file.Name}, {Op: OpFile, Index: 3, Node: empty},
		{Op: OpData, Data: []byte("content")}, {Op: OpEnd}, {Op: OpChanged}, {Op: OpGone, Index: 9}, {Op: OpFailed, Index: 1, Data: []byte("why")},
		{Op: OpMake, Node: link}, {Op: OpSet, Node: Node{Kind: sandbox.TreeDir, Mode: 0o1777, Name: []byte("d")}},
	}
}

func readAll(b []byte) (all []TreeRecord, err error) {
	for r := NewTreeReader(b); ; {
		rec, ok, err := r.Next()
		if err != nil || !ok {
			return all, err
		}
		all = append(all, rec)
	}
}

func TestTreeRecords(t *testing.T) {
	var b []byte
	for _, r := range records() {
		b = r.AppendTo(b)
	}
	got, err := readAll(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(records(), got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	if got[3].Node.Extents == nil || got[1].Node.Extents != nil {
		t.Error("a file of nothing but a hole is not told from one that is all data")
	}
	for _, rec := range records() {
		one := rec.AppendTo(nil)
		for n := 1; n < len(one); n++ {
			if _, err := readAll(one[:n]); err == nil {
				t.Errorf("record %d is read from %d of its %d bytes", rec.Op, n, len(one))
			}
		}
	}
	header := make([]byte, TreeDataHeader)
	PutTreeData(header, 7)
	if want := records()[4].AppendTo(nil); !bytes.Equal(append(header, "content"...), want) {
		t.Errorf("data put into place %x, want %x", header, want[:TreeDataHeader])
	}
}

func TestTreeRefused(t *testing.T) {
	good := Node{Kind: sandbox.TreeFile, Size: 10, Name: []byte("f")}
	for name, spoil := range map[string]func(*Node){
		"a negative size":       func(n *Node) { n.Size = -1 },
		"a mode with a type":    func(n *Node) { n.Mode = 0o100644 },
		"a nanosecond too many": func(n *Node) { n.MTime.Nsec = 1_000_000_000 },
		"extents that overlap":  func(n *Node) { n.Extents = []sandbox.Extent{{Offset: 0, Length: 5}, {Offset: 4, Length: 1}} },
		"an empty extent":       func(n *Node) { n.Extents = []sandbox.Extent{{Offset: 0, Length: 0}} },
		"an extent without end": func(n *Node) { n.Extents = []sandbox.Extent{{Offset: 2, Length: 1<<63 - 1}} },
		"too many extents": func(n *Node) {
			for i := range int64(MaxExtents + 1) {
				n.Extents = append(n.Extents, sandbox.Extent{Offset: 2 * i, Length: 1})
			}
		},
	} {
		n := good
		spoil(&n)
		rec := TreeRecord{Op: OpNode, Node: n}
		if _, err := readAll(rec.AppendTo(nil)); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	if _, err := readAll([]byte{200}); err == nil {
		t.Error("an unknown record is read")
	}
}

// FuzzTree holds that what can be read is written the same way again, and that
// nothing else makes the reader take more memory than it was given.
func FuzzTree(f *testing.F) {
	var all []byte
	for _, r := range records() {
		f.Add(r.AppendTo(nil))
		all = r.AppendTo(all)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readAll(b)
		var again []byte
		for _, rec := range got {
			if len(rec.Data) > len(b) || len(rec.Node.Name)+len(rec.Node.Target) > len(b) || cap(rec.Node.Extents) > len(b) {
				t.Fatalf("a record is longer than what it was read from: %+v", rec)
			}
			again = rec.AppendTo(again)
		}
		if err != nil {
			return
		}
		twice, err := readAll(again)
		if err != nil {
			t.Fatalf("read %+v, but not again: %v", got, err)
		}
		if diff := cmp.Diff(got, twice, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("read again (-first +second):\n%s", diff)
		}
	})
}
