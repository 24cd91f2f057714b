package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
)

// Sizes of what sealing adds, in bytes.
const (
	nonceSize = 24
	tagSize   = 16
)

// sealer is XAES-256-GCM (C2SP, XAES-256-GCM.md): AES-256-GCM under a key that is derived
// from the first half of a nonce of 192 bits. Plain GCM allows 2^32 random nonces of 96
// bits per key, which a busy installation reaches within weeks; here the bound is 2^80.
type sealer struct {
	block cipher.Block
	k1    [aes.BlockSize]byte
}

// newSealer derives the key for this use: one key for payloads and blobs both is nothing
// that anybody has proved to be safe.
func newSealer(key []byte) (sealer, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, domain, keyBytes)
	if err != nil {
		return sealer{}, err
	}
	return newXAES(derived)
}

func newXAES(key []byte) (sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, err
	}
	s := sealer{block: block}
	// The subkey of CMAC: the encryption of zeros, doubled in the field.
	block.Encrypt(s.k1[:], s.k1[:])
	var msb byte
	for i := len(s.k1) - 1; i >= 0; i-- {
		msb, s.k1[i] = s.k1[i]>>7, s.k1[i]<<1|msb
	}
	s.k1[len(s.k1)-1] ^= byte(subtle.ConstantTimeSelect(int(msb), 0x87, 0))
	return s, nil
}

// aead is GCM under the key for one nonce.
func (s sealer) aead(nonce []byte) (cipher.AEAD, error) {
	derived := make([]byte, 0, keyBytes)
	for i := byte(1); i <= 2; i++ {
		m := append([]byte{0, i, 'X', 0}, nonce[:12]...)
		subtle.XORBytes(m, m, s.k1[:])
		s.block.Encrypt(m, m)
		derived = append(derived, m...)
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal gives a random nonce and behind it the encrypted message.
func (s sealer) seal(message, data []byte) []byte {
	out := make([]byte, nonceSize, nonceSize+len(message)+tagSize)
	_, _ = rand.Read(out) // it never fails: crypto/rand ends the program instead
	return s.sealWith(out, message, data)
}

// sealWith appends the encrypted message to its nonce.
func (s sealer) sealWith(nonce, message, data []byte) []byte {
	aead, err := s.aead(nonce)
	if err != nil {
		panic(err) // keys of 32 bytes are keys of AES
	}
	return aead.Seal(nonce, nonce[12:nonceSize], message, data)
}

var errShort = errors.New("shorter than a nonce and a tag")

func (s sealer) open(sealed, data []byte) ([]byte, error) {
	if len(sealed) < nonceSize+tagSize {
		return nil, errShort
	}
	aead, err := s.aead(sealed[:nonceSize])
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, sealed[12:nonceSize], sealed[nonceSize:], data)
}
