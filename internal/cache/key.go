package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"slices"
	"strings"

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
	op        llm.Operation
	seen      members
	twice     bool // one of those stands there twice: an upstream may take either
}

// members are members of a request that need a look of their own.
type members uint16

const (
	withStreamOptions members = 1 << iota // in the key of a stream's events
	withInput                             // of an embedding; in the keys of the items
	withStore
	withBackground
	withConversation
	withPrevious
	withPrompt
	withTools
	withServers
	withContent
	withContainer
	withUser
	withSafetyIdentifier
	withPromptCacheKey
	withPromptCacheRetention

	// withAsker are those that say who asks. Replies do not repeat them, but for
	// Responses.
	withAsker = withUser | withSafetyIdentifier | withPromptCacheKey | withPromptCacheRetention
	leftOut   = withStreamOptions | withInput | withAsker
)

// asker tells the member of withAsker, 0 for any other.
func asker(key []byte) members {
	switch string(key) {
	case "user":
		return withUser
	case "safety_identifier":
		return withSafetyIdentifier
	case "prompt_cache_key":
		return withPromptCacheKey
	case "prompt_cache_retention":
		return withPromptCacheRetention
	default:
		return 0
	}
}

func newKeyer() *keyer {
	k := &keyer{digest: sha256.New()}
	k.skip = k.leaveOut
	return k
}

// leaveOut reports whether a member of a request neither changes the answer nor
// stands in it: it says how the answer is delivered, or who asks. The model is
// in the key as the group that answers for it. docs/caching.md has the list. What
// is null is left out besides: to the API it is as if it were absent.
func (k *keyer) leaveOut(key []byte) bool {
	var m members
	response, messages := k.op == llm.Response, k.op == llm.Messages
	switch string(key) {
	case "model", "stream":
		return true
	case "stream_options":
		m = withStreamOptions
	case "input":
		if k.op == llm.Embedding {
			m = withInput
		}
	case "store":
		m = withStore
	case "background":
		m = withBackground
	case "conversation":
		m = withConversation
	case "previous_response_id":
		m = withPrevious
	case "prompt":
		if response { // elsewhere it is the text
			m = withPrompt
		}
	case "tools":
		m = withTools
	case "mcp_servers":
		if messages {
			m = withServers
		}
	case "container":
		if messages {
			m = withContainer
		}
	case "cachedContent", "cached_content":
		m = withContent
	default:
		if !response {
			m = asker(key)
		}
	}
	k.twice = k.twice || k.seen&m != 0
	k.seen |= m
	return m&leftOut != 0
}

// cacheable reports whether an answer to an operation may be kept at all. The
// model lists are the router's to keep.
func cacheable(op llm.Operation) bool {
	switch op {
	case llm.Chat, llm.Completion, llm.Response, llm.Messages, llm.Embedding, llm.GenerateContent, llm.EmbedContent, llm.BatchEmbedContents:
		return true
	default:
		return false
	}
}

// key digests all that an answer depends on, and what it repeats. For an
// embedding that is all but its input. ok is false where the request is none
// that is answered from memory; stored says whether replies that the upstream
// keeps are.
func (k *keyer) key(req *llm.Request, scope string, group [32]byte, stored bool) (key Key, ok bool) {
	k.op, k.seen, k.twice = req.Op, 0, false
	if req.Thread != nil {
		return Key{}, false // the reply is this conversation's alone
	}
	if req.Op == llm.Response && !stored && !said(req.Body, "store", "false") {
		return Key{}, false // the upstream keeps it unless the request says no
	}
	k.digest.Reset()
	k.part = append(k.part[:0], keyVersion...)
	k.part = append(k.part, byte(req.Op))
	tenant := req.Tenant
	if scope == ScopeGlobal {
		tenant = ""
	}
	path, query := req.Path, req.RawQuery
	if req.Op.NamesInPath() { // the model, which is in the group, and whether a stream is wanted
		path, query = req.Op.Route(), withoutAlt(query)
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
	return k.sum, !k.twice && !k.stateful(req.Body) && (stored || !k.kept(req.Body))
}

// withoutAlt is a query of Google's API without what says how the answer is delivered.
func withoutAlt(query string) string {
	if !strings.Contains(query, "alt=") {
		return query
	}
	var rest []string
	for part := range strings.SplitSeq(query, "&") {
		if !strings.HasPrefix(part, "alt=") && !strings.HasPrefix(part, "$alt=") {
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

// sharedKey is the key that a call under way is joined by, given by the one of
// its reply. Those who say otherwise who they are share no call: nobody knows
// yet whether its reply will repeat that.
func (k *keyer) sharedKey(key Key, body []byte) Key {
	if k.seen&withAsker == 0 {
		return key
	}
	k.digest.Reset()
	k.part = append(append(k.part[:0], "asker"...), key[:]...)
	none := true
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

// stateful reports whether the same request may be answered otherwise, or have
// another effect, though nothing in it has changed: it goes on from what the
// upstream keeps, which may be changed or deleted meanwhile, or is worked on later.
func (k *keyer) stateful(body []byte) bool {
	switch k.op {
	case llm.Response:
		return k.continues(body) || k.seen&withTools != 0 && acts(body, runBesideResponse) || refers(body)
	case llm.Chat:
		return k.seen&withTools != 0 && acts(body, runBesideChat)
	case llm.Messages:
		return k.seen&withServers != 0 && has(body, "mcp_servers") || k.seen&withContainer != 0 && has(body, "container") ||
			k.seen&withTools != 0 && acts(body, runBesideMessage)
	case llm.GenerateContent:
		return k.seen&withContent != 0 || k.seen&withTools != 0 && contentActs(body)
	default:
		return false
	}
}

// continues reports whether a Response goes on from what the upstream keeps, or is
// worked on later.
func (k *keyer) continues(body []byte) bool {
	if k.seen&withBackground != 0 && has(body, "background") && !said(body, "background", "false") {
		return true
	}
	if k.seen&withConversation != 0 && has(body, "conversation") || k.seen&withPrevious != 0 && has(body, "previous_response_id") {
		return true
	}
	// A template without its version is whatever it is by then.
	if k.seen&withPrompt != 0 && has(body, "prompt") {
		if v, ok := jsonscan.Get(body, "prompt", "version"); !ok || null(body, v) {
			return true
		}
	}
	return false
}

// acts reports whether a request may have its upstream do something outside of the
// reply, as code and the tools of an MCP server do. Some tools only read, and of
// some it is the client that acts; harmless tells of the type of one, "" for none,
// whether it is of those. Whatever else there is may act.
func acts(body []byte, harmless func(kind string) bool) (yes bool) {
	v, ok := jsonscan.Get(body, "tools")
	if !ok || null(body, v) {
		return false
	}
	tools := body[v.Start:v.End]
	if tools[0] != '[' {
		return true
	}
	jsonscan.Elements(tools, func(v llm.Span) bool {
		tool := tools[v.Start:v.End]
		yes = twice(tool, "type") || !harmless(text(tool, "type"))
		return !yes
	})
	return yes
}

// twice reports whether a member stands more than once in an object: an upstream may
// take either.
func twice(object []byte, name string) bool {
	n := 0
	_ = jsonscan.Members(object, maxReplyDepth, func(key []byte, _ llm.Span) error {
		if string(key) == name {
			n++
		}
		return nil
	})
	return n > 1
}

// runBesideResponse reports whether a tool of a Response, by its type, is run by the
// client or only reads.
func runBesideResponse(kind string) bool {
	switch kind {
	case "function", "custom", "namespace", "apply_patch", "local_shell", "computer", "computer_use_preview", // the client's
		"web_search", "web_search_preview", "file_search", "image_generation", "tool_search":
		return true
	default:
		// A later version of one, as web_search_2025_08_26, reads as well.
		return strings.HasPrefix(kind, "web_search_") || strings.HasPrefix(kind, "computer_use_preview_")
	}
}

// runBesideChat is the same of a tool of a chat completion. OpenAI's are the client's alone;
// other services have some of their own, which may be whatever they like.
func runBesideChat(kind string) bool {
	switch kind {
	case "", "function", "custom", // the client's
		"web_search", "browser_search", "file_search", "retrieval":
		return true
	default:
		return strings.HasPrefix(kind, "web_search_")
	}
}

// runBesideMessage is the same of a tool of a message. One without a type is the
// client's; all others have their version in it, as bash_20250124.
func runBesideMessage(kind string) bool {
	if kind == "" || kind == "custom" {
		return true
	}
	for _, p := range [...]string{"bash_", "text_editor_", "computer_", "memory_", // the client's
		"web_search_", "web_fetch_", "tool_search_tool_"} {
		if strings.HasPrefix(kind, p) {
			return true
		}
	}
	return false
}

// contentActs is acts for a request of Google's API, whose tools have their kind as the
// name of a member.
func contentActs(body []byte) bool {
	tools := jsonscan.Member(body, "tools")
	if tools == nil {
		return false
	}
	if tools[0] != '[' {
		return true
	}
	for tool := range jsonscan.ElementsOf(tools) {
		if tool[0] != '{' {
			return true
		}
		for kind := range jsonscan.MembersOf(tool) {
			switch string(kind) {
			case "functionDeclarations", "function_declarations", "computerUse", "computer_use", // the client's
				"googleSearch", "google_search", "googleSearchRetrieval", "google_search_retrieval", "googleMaps", "google_maps",
				"urlContext", "url_context", "fileSearch", "file_search", "enterpriseWebSearch", "retrieval":
			default:
				return true
			}
		}
	}
	return false
}

// refers reports whether the input may have an item that stands for one that the
// upstream keeps. Its type may be left out, and then it has an id and no role. The
// same words in a text cost a miss.
func refers(body []byte) (yes bool) {
	if bytes.Contains(body, []byte("item_reference")) {
		return true
	}
	if !bytes.Contains(body, []byte(`"id"`)) {
		return false
	}
	v, _ := jsonscan.Get(body, "input")
	items := body[v.Start:v.End]
	jsonscan.Elements(items, func(v llm.Span) bool {
		item := items[v.Start:v.End]
		yes = has(item, "id") && !has(item, "type") && !has(item, "role")
		return !yes
	})
	return yes
}

// kept reports whether a chat completion says that the upstream is to keep its
// reply under the id, for the client to change and to delete.
func (k *keyer) kept(body []byte) bool {
	return k.op == llm.Chat && k.seen&withStore != 0 && has(body, "store") && !said(body, "store", "false")
}

// said reports whether a member is spelled as given.
func said(body []byte, name, value string) bool {
	v, ok := jsonscan.Get(body, name)
	return ok && string(body[v.Start:v.End]) == value
}

// repeats reports whether a reply has one of the members at its top that are
// left out of its key: another request with that key has to get another reply.
func repeats(op llm.Operation, reply []byte) (yes bool) {
	if op == llm.Response || op == llm.GenerateContent {
		return false // none is left out
	}
	_ = jsonscan.Members(reply, maxReplyDepth, func(key []byte, v llm.Span) error {
		yes = yes || asker(key) != 0 && !null(reply, v)
		return nil
	})
	return yes
}

// deterministic reports whether a request asks for the same answer each time.
func deterministic(req *llm.Request) bool {
	asked := req.Body
	switch req.Op {
	case llm.Embedding, llm.EmbedContent, llm.BatchEmbedContents:
		return true
	case llm.GenerateContent:
		if asked = jsonscan.Member(req.Body, "generationConfig"); asked == nil {
			asked = jsonscan.Member(req.Body, "generation_config")
		}
	}
	if v, ok := jsonscan.Get(asked, "seed"); ok && !null(asked, v) {
		return true
	}
	v, ok := jsonscan.Get(asked, "temperature")
	return ok && zero(asked[v.Start:v.End])
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
