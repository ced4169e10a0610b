package responses

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"strings"
)

// An id is ownID and a text of 130 random bits; those of the items of the reply's output are
// made of it as dialect/responses makes them: "msg_sluice_…_0".
const (
	mark      = "sluice_"
	ownID     = "resp_" + mark
	secretLen = 26 // of rand.Text
)

// newID gives an id that nobody can guess.
func newID() string { return ownID + rand.Text() }

// isOwn reports whether an id has the form of those that are given here.
func isOwn(id string) bool { return strings.HasPrefix(id, ownID) }

// ownerOf gives the reply to whose output an item belongs, by the item's id, "" for none.
func ownerOf(item string) string {
	_, rest, ok := strings.Cut(item, "_"+mark)
	if !ok || len(rest) <= secretLen || rest[secretLen] != '_' {
		return ""
	}
	return ownID + rest[:secretLen]
}

// key is what a reply is kept under: a digest, so that one API key finds nothing of another's.
type key [sha256.Size]byte

func keyOf(tenant, id string) key {
	b := make([]byte, 0, 128)
	b = binary.AppendUvarint(b, uint64(len(tenant)))
	b = append(append(b, tenant...), id...)
	return sha256.Sum256(b)
}
