package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sort"
	"strings"

	"sluice/internal/dialect"
	"sluice/internal/dialect/known"
	"sluice/internal/embeddings"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// keyVersion begins what is digested. It changes with the rules below.
const keyVersion = "sluice/3"

// keyer makes keys. It is kept for use again.
type keyer struct {
	digest    hash.Hash
	canonical jsonscan.Canonical
	part      []byte // of what is digested
	sum       Key    // that comes out; a local one would be allocated
	header    []llm.Field
	skip      func(key []byte) bool // k.leaveOut, made once
	unnamed   func(key []byte) bool // k.leaveModel, likewise
	own       bool                  // an input names the request's model
	named     int                   // how often it names one
	api       dialect.Storable
	seen      dialect.Members
	twice     bool // one of those stands there twice: an upstream may take either
}

func newKeyer() *keyer {
	k := &keyer{digest: sha256.New()}
	k.skip, k.unnamed = k.leaveOut, k.leaveModel
	return k
}

// leaveOut reports whether a member of a request neither changes the answer nor
// stands in it: it says how the answer is delivered, or who asks. The model is
// in the key as the group that answers for it. docs/caching.md has the list. What
// is null is left out besides: to the API it is as if it were absent.
func (k *keyer) leaveOut(key []byte) bool {
	m := k.api.Member(key)
	k.twice = k.twice || k.seen&m&^dialect.Delivery != 0
	k.seen |= m
	return m&dialect.LeftOut != 0
}

// key digests all that an answer depends on, and what it repeats. For an
// embedding that is all but its input. ok is false where the request is none
// that is answered from memory; stored says whether replies that the upstream
// keeps are.
func (k *keyer) key(req *llm.Request, scope string, group [32]byte, stored bool) (key Key, ok bool) {
	k.api, k.seen, k.twice = known.StoredOf(req.Op), 0, false
	op := req.Op
	if f := known.InputsOf(op); f != nil {
		op = f.Op
	}
	if req.Thread != nil {
		return Key{}, false // the reply is this conversation's alone
	}
	if !stored && k.api.Keeps() && !said(req.Body, "store", "false") {
		return Key{}, false
	}
	k.digest.Reset()
	k.part = append(k.part[:0], keyVersion...)
	k.part = append(k.part, byte(op))
	tenant := req.Tenant
	if scope == ScopeGlobal {
		tenant = ""
	}
	path, query := req.Path, req.RawQuery
	if req.Op.NamesInPath() { // the model, which is in the group, and whether a stream is wanted
		path, query = op.Route(), withoutAlt(query)
	}
	for _, s := range [...]string{scope, tenant, path, query} {
		k.text(s)
	}
	k.fields(req.Header)
	k.part = append(k.part, group[:]...)
	k.digest.Write(k.part)
	if err := k.canonical.Write(k.digest, req.Body, k.skip); err != nil {
		return Key{}, false
	}
	k.digest.Sum(k.sum[:0])
	return k.sum, !k.twice && !k.api.Stateful(req.Body, k.seen) && (stored || !k.kept(req.Body))
}

// withoutAlt is a query of Google's API without what says how the answer is delivered. What has
// parameters says besides how it is written, and stays.
func withoutAlt(query string) string {
	if !strings.Contains(query, "alt=") {
		return query
	}
	var rest []string
	for part := range strings.SplitSeq(query, "&") {
		switch strings.TrimPrefix(part, "$") {
		case "alt=sse", "alt=json":
		default:
			rest = append(rest, part)
		}
	}
	return strings.Join(rest, "&")
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
		if !unkeyed(f.Name) {
			k.header = append(k.header, f)
		}
	}
	byName(k.header) // they come in any order
	k.part = binary.AppendUvarint(k.part, uint64(len(k.header)))
	for _, f := range k.header {
		k.text(f.Name)
		k.text(f.Value)
	}
	clear(k.header)
}

// byName sorts fields, and leaves those of one name in their order. Package slices' sort of
// them is 10 kB of the binary, and of a dozen fields no quicker.
func byName(fields []llm.Field) {
	if len(fields) > 64 {
		sort.SliceStable(fields, func(i, j int) bool { return fields[i].Name < fields[j].Name })
		return
	}
	for i := 1; i < len(fields); i++ {
		for j := i; j > 0 && fields[j].Name < fields[j-1].Name; j-- {
			fields[j], fields[j-1] = fields[j-1], fields[j]
		}
	}
}

// unkeyed reports whether a header field is in no key of a reply. What a request has passed changes
// no reply that is stored, but whether there is one: see sharedKey.
func unkeyed(name string) bool { return llm.Passing(name) || name == llm.LoopField }

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
// request without its input. White space in an array of tokens does not count, and an
// object is in it as a request is, but for its name of the model where it is that of
// the request. ok is false for one that names its model twice.
func (k *keyer) itemKey(key Key, f *embeddings.Form, item []byte, model string) (sum Key, ok bool) {
	k.digest.Reset()
	k.part = append(append(k.part[:0], "item"...), key[:]...)
	switch {
	case f.Objects:
		v, _ := jsonscan.Get(item, "model")
		k.own, k.named = names(item[v.Start:v.End], model), 0
		k.digest.Write(k.part)
		if k.canonical.Write(k.digest, item, k.unnamed) != nil || k.named > 1 {
			return Key{}, false
		}
	case item[0] == '"':
		k.digest.Write(k.part)
		k.digest.Write(item)
	default:
		for _, c := range item {
			if c > ' ' {
				k.part = append(k.part, c)
			}
		}
		k.digest.Write(k.part)
	}
	k.digest.Sum(k.sum[:0])
	return k.sum, true
}

// leaveModel reports whether a member of an input is the request's model, which is in
// the key as the group that answers for it.
func (k *keyer) leaveModel(key []byte) bool {
	if string(key) != "model" {
		return false
	}
	k.named++
	return k.own
}

// names reports whether JSON is the name of a model, as it is or as that of a resource.
func names(raw []byte, model string) bool {
	if len(raw) < 2 || raw[0] != '"' {
		return false
	}
	name := raw[1 : len(raw)-1]
	return string(name) == model || string(bytes.TrimPrefix(name, []byte("models/"))) == model
}

// wholeKey is the key that equal embeddings under way share, given by that of
// the request without its input.
func (k *keyer) wholeKey(key Key, f *embeddings.Form, items []input) Key {
	k.digest.Reset()
	of := "whole"
	if f.One != "" { // the reply is another one than that to a list of one
		of = "one"
	}
	k.part = append(append(k.part[:0], of...), key[:]...)
	k.digest.Write(k.part)
	for i := range items {
		k.part = append(k.part[:0], items[i].key[:]...)
		k.digest.Write(k.part)
	}
	k.digest.Sum(k.sum[:0])
	return k.sum
}

// sharedKey is the key that a call under way is joined by, given by the one of
// its reply. Those who say otherwise who they are share no call: nobody knows
// yet whether its reply will repeat that. Nor do those that have passed other gateways:
// one may be refused for these (llm.LoopField). What the gateway closes itself is cut where
// another passes as it is (llm.Request.Closed).
func (k *keyer) sharedKey(key Key, req *llm.Request) Key {
	hops, body := req.Get(llm.LoopField), req.Body
	none, of := hops == "" && !req.Closed, "asker"
	if k.seen&dialect.Asker == 0 && none {
		return key
	}
	if req.Closed {
		of = "asker, closed"
	}
	k.digest.Reset()
	k.part = append(append(k.part[:0], of...), key[:]...)
	k.text(hops)
	for _, name := range [...]string{"user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"} {
		v, ok := jsonscan.Get(body, name)
		if ok && null(body, v) {
			v = llm.Span{}
		}
		none = none && v == llm.Span{}
		k.part = binary.AppendUvarint(k.part, uint64(v.End-v.Start))
		k.part = append(k.part, body[v.Start:v.End]...)
	}
	if none {
		return key
	}
	k.digest.Write(k.part)
	k.digest.Sum(k.sum[:0])
	return k.sum
}

// kept reports whether a request says that the upstream is to keep its reply, which it
// would not do otherwise.
func (k *keyer) kept(body []byte) bool {
	return k.seen&dialect.Store != 0 && jsonscan.Member(body, "store") != nil && !said(body, "store", "false")
}

// said reports whether a member is spelled as given.
func said(body []byte, name, value string) bool {
	v, ok := jsonscan.Get(body, name)
	return ok && string(body[v.Start:v.End]) == value
}

// repeats reports whether a reply has one of the members at its top that are
// left out of its key: another request with that key has to get another reply.
func repeats(api dialect.Storable, reply []byte) (yes bool) {
	_ = jsonscan.Members(reply, maxReplyDepth, func(key []byte, v llm.Span) error {
		yes = yes || api.Member(key)&dialect.Asker != 0 && !null(reply, v)
		return nil
	})
	return yes
}

func null(body []byte, v llm.Span) bool { return string(body[v.Start:v.End]) == "null" }

// release readies the keyer for its pool.
func (k *keyer) release() {
	k.part = kept(k.part)
}
