package pgtables

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
)

// sumKey is the key of the sums of one restore.
type sumKey []byte

// newSumKey draws one. Sums of hashes that anybody can compute are no proof: whoever
// chooses the rows finds others with the same sum (the generalised birthday problem). So
// the key comes into being when the rows are written already, and is never stored.
func newSumKey() sumKey {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails
	return key
}

// rowSum adds up the SHA-256 of a key and each row, modulo 2^256. It does not depend on
// the order of the rows, so that a restore can be verified without sorting. A row ends at
// its only newline, so none begins with another one.
type rowSum struct {
	input []byte // the key, and a row
	key   int
	n     [4]uint64 // the lowest first
}

// newRowSum makes a sum without rows. Without a key it is that of the manifests that
// have one.
func newRowSum(key sumKey) *rowSum { return &rowSum{input: bytes.Clone(key), key: len(key)} }

// add takes one row, with its newline.
func (s *rowSum) add(row []byte) {
	s.input = append(s.input[:s.key], row...)
	h := sha256.Sum256(s.input)
	var carry uint64
	for i := range s.n {
		s.n[i], carry = bits.Add64(s.n[i], binary.LittleEndian.Uint64(h[8*i:]), carry)
	}
}

// addAll takes rows, and gives how many they were.
func (s *rowSum) addAll(rows []byte) (n int64) {
	for len(rows) > 0 {
		end := bytes.IndexByte(rows, '\n') + 1
		if end == 0 {
			return n // has no end, which nothing that was stored lacks
		}
		s.add(rows[:end])
		rows = rows[end:]
		n++
	}
	return n
}

func (s *rowSum) hex() string {
	var b []byte
	for _, part := range s.n {
		b = binary.LittleEndian.AppendUint64(b, part)
	}
	return hex.EncodeToString(b)
}
