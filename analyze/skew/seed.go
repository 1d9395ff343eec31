package skew

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
)

// Seed starts a stream of pseudo-random numbers. Equal seeds give equal streams.
type Seed [2]uint64

// NewSeed returns the seed that belongs to a list of names: equal lists give equal seeds, and lists that differ
// anywhere give unrelated ones.
func NewSeed(names ...string) Seed {
	h := sha256.New()
	for _, name := range names {
		var length [8]byte
		binary.LittleEndian.PutUint64(length[:], uint64(len(name)))
		h.Write(length[:])
		h.Write([]byte(name))
	}
	sum := h.Sum(nil)
	return Seed{binary.LittleEndian.Uint64(sum), binary.LittleEndian.Uint64(sum[8:])}
}

// For returns the seed for one purpose, so that two simulations of the same thing do not share their draws.
func (s Seed) For(purpose string) Seed {
	var own [16]byte
	binary.LittleEndian.PutUint64(own[:], s[0])
	binary.LittleEndian.PutUint64(own[8:], s[1])
	return NewSeed(string(own[:]), purpose)
}

func (s Seed) source() *rand.PCG { return rand.NewPCG(s[0], s[1]) }
