package cache

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"
)

// Key names a stored reply. It is a SHA-256 digest of everything that the
// reply depends on, so that two different requests never share one.
type Key [32]byte

// ParseKey reads a key as it stands in X-Cache-Key: 64 hexadecimal digits.
func ParseKey(text string) (key Key, err error) {
	b, err := hex.DecodeString(text)
	if err != nil {
		return key, err
	}
	if len(b) != len(key) {
		return key, fmt.Errorf("it has %d digits, not %d", len(text), 2*len(key))
	}
	return Key(b), nil
}

// Place is where a reply is kept. Model, the name of its model as resolved, is
// there for purges.
type Place struct {
	Model string
	Key   Key
}

// Found is what a second level has in a place. Value is nil where it has
// nothing; Left is how much longer it keeps it, by its own clock.
type Found struct {
	Value []byte
	Left  time.Duration
}

// Purge says which replies are to be forgotten: those of a model, the one of a
// key, or with neither every one. One with an ID is of those alone that the
// upstream knows by the id which that stands for.
type Purge struct {
	Model   string
	Key, ID Key
}

// SecondLevel is a store that several machines share. Its values are opaque to
// it, and what it gives is not trusted: the cache checks it. Its methods are
// safe for concurrent use. None waits longer than the level's time-out, and
// one that is down fails at once.
type SecondLevel interface {
	// Get fills found with what there is in places, in one round trip. After an
	// error nothing is found. ctx ends the wait.
	Get(ctx context.Context, places []Place, found []Found) error

	// Put stores a value for life, later and if it can. It never blocks and
	// keeps value, which nobody changes any more.
	Put(place Place, value []byte, life time.Duration)

	// Purge forgets replies here and tells the other machines to. What is still
	// to be stored is forgotten too. p has no ID.
	Purge(ctx context.Context, p Purge) error

	// Forget is Purge for what is in places, and tells the other machines to
	// forget what they have of an id.
	Forget(ctx context.Context, id Key, places []Place) error
}
