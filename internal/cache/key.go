package cache

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"strings"

	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// Groups is what the cache asks of routing.
type Groups interface {
	// Group gives a digest of the upstreams that may answer for a model as a
	// client names it, and the model's name as resolved. ok is false while none
	// is known. It does not wait.
	Group(model string) (id [32]byte, name string, ok bool)
}

// keyVersion begins what is digested. It changes with the rules below.
const keyVersion = "sluice/1"

// keyer makes keys. It is kept for use again.
type keyer struct {
	digest    hash.Hash
	canonical jsonscan.Canonical
	part      []byte // of what is digested
	sum       Key    // that comes out; a local one would be allocated
	header    []llm.Field
	skip      func(key []byte) bool // k.leaveOut, made once
	op        llm.Operation
	state     bool // there is a member that may refer to changing state
	seen      int  // how often the member that only the other keys cover
}

func newKeyer() *keyer {
	k := &keyer{digest: sha256.New()}
	k.skip = k.leaveOut
	return k
}

// leaveOut reports whether a member of a request cannot change the answer: it
// says how the answer is delivered, or who asks. The model is in the key as the
// group that answers for it.
func (k *keyer) leaveOut(key []byte) bool {
	switch string(key) {
	case "stream_options":
		k.seen++
		return true
	case "model", "stream", "user", "metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention":
		return true
	case "input":
		if k.op == llm.Embedding { // it is in the keys of the items
			k.seen++
			return true
		}
	case "background", "conversation":
		k.state = k.op == llm.Response
	}
	return false
}

// cacheable reports whether an answer to an operation may be kept at all. The
// model lists are the router's to keep.
func cacheable(op llm.Operation) bool {
	switch op {
	case llm.Chat, llm.Completion, llm.Response, llm.Embedding:
		return true
	default:
		return false
	}
}

// key digests all that an answer depends on. For an embedding that is all but
// its input. ok is false where the request is none that is answered from memory.
func (k *keyer) key(req *llm.Request, scope string, group [32]byte) (key Key, ok bool) {
	k.op, k.state, k.seen = req.Op, false, 0
	k.digest.Reset()
	k.part = append(k.part[:0], keyVersion...)
	k.part = append(k.part, byte(req.Op))
	tenant := req.Tenant
	if scope == ScopeGlobal {
		tenant = ""
	}
	for _, s := range [...]string{scope, tenant, req.Path, req.RawQuery} {
		k.text(s)
	}
	k.fields(req.Header)
	k.part = append(k.part, group[:]...)
	k.digest.Write(k.part)
	if err := k.canonical.Write(k.digest, req.Body, k.skip); err != nil {
		return Key{}, false
	}
	k.digest.Sum(k.sum[:0])
	// Of a member that stands there twice an upstream may take either.
	return k.sum, k.seen <= 1 && (!k.state || !stateful(req.Body))
}

// text adds a string so that no two lists of strings look alike.
func (k *keyer) text(s string) {
	k.part = binary.AppendUvarint(k.part, uint64(len(s)))
	k.part = append(k.part, s...)
}

// fields adds the header fields that may change the answer: all that an
// upstream sees, but for those that only name or trace the call.
func (k *keyer) fields(header []llm.Field) {
	k.header = k.header[:0]
	for _, f := range header {
		if !passing(f.Name) {
			k.header = append(k.header, f)
		}
	}
	if len(k.header) > 1 { // they come in any order
		slices.SortStableFunc(k.header, func(a, b llm.Field) int { return strings.Compare(a.Name, b.Name) })
	}
	k.part = binary.AppendUvarint(k.part, uint64(len(k.header)))
	for _, f := range k.header {
		k.text(f.Name)
		k.text(f.Value)
	}
	clear(k.header)
}

// passing reports whether a header field only names or traces a call.
func passing(name string) bool {
	switch name {
	case "Accept", "Content-Type", "User-Agent", "Idempotency-Key", "Traceparent", "Tracestate", "X-Request-Id", "X-Client-Request-Id":
		return true
	default:
		return false
	}
}

// streamKey is the key of the events that a streamed call is answered with:
// stream_options may change them.
func (k *keyer) streamKey(key Key, body []byte) (Key, bool) {
	k.digest.Reset()
	k.part = append(append(k.part[:0], "stream"...), key[:]...)
	k.digest.Write(k.part)
	if v, ok := jsonscan.Get(body, "stream_options"); ok && !null(body, v) {
		if err := k.canonical.Write(k.digest, body[v.Start:v.End], nil); err != nil {
			return Key{}, false
		}
	}
	k.digest.Sum(k.sum[:0])
	return k.sum, true
}

// itemKey is the key of one input of an embedding, given by the key of the
// request without its input. White space in an array of tokens does not count.
func (k *keyer) itemKey(key Key, item []byte) Key {
	k.digest.Reset()
	k.part = append(append(k.part[:0], "item"...), key[:]...)
	if item[0] == '"' {
		k.digest.Write(k.part)
		k.digest.Write(item)
	} else {
		for _, c := range item {
			if c > ' ' {
				k.part = append(k.part, c)
			}
		}
		k.digest.Write(k.part)
	}
	k.digest.Sum(k.sum[:0])
	return k.sum
}

// wholeKey is the key that equal embeddings under way share, given by that of
// the request without its input.
func (k *keyer) wholeKey(key Key, items []input) Key {
	k.digest.Reset()
	k.part = append(append(k.part[:0], "whole"...), key[:]...)
	k.digest.Write(k.part)
	for i := range items {
		k.part = append(k.part[:0], items[i].key[:]...)
		k.digest.Write(k.part)
	}
	k.digest.Sum(k.sum[:0])
	return k.sum
}

// stateful reports whether a response is kept by the upstream as part of a
// conversation, or made later: the same request then has another effect.
func stateful(body []byte) bool {
	if v, ok := jsonscan.Get(body, "background"); ok && string(body[v.Start:v.End]) != "false" && !null(body, v) {
		return true
	}
	v, ok := jsonscan.Get(body, "conversation")
	return ok && !null(body, v)
}

// deterministic reports whether a request asks for the same answer each time.
func deterministic(req *llm.Request) bool {
	if req.Op == llm.Embedding {
		return true
	}
	if v, ok := jsonscan.Get(req.Body, "seed"); ok && !null(req.Body, v) {
		return true
	}
	v, ok := jsonscan.Get(req.Body, "temperature")
	return ok && zero(req.Body[v.Start:v.End])
}

// zero reports whether a JSON number is 0, however it is spelled.
func zero(number []byte) bool {
	for i, c := range number {
		switch {
		case c == 'e' || c == 'E':
			return i > 0
		case '1' <= c && c <= '9' || c == '"' || c > '9':
			return false
		}
	}
	return len(number) > 0
}

func null(body []byte, v llm.Span) bool { return string(body[v.Start:v.End]) == "null" }

// release readies the keyer for its pool.
func (k *keyer) release() {
	k.part = kept(k.part)
}
