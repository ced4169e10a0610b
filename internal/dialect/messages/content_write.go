package messages

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// call is one that another dialect gave no id.
type call struct {
	name []byte
	n    int
}

func isPrompt(m *dialect.Message) bool {
	return m.Role == dialect.System || m.Role == dialect.Developer
}

// place finds out where the prompts go that stand among the messages.
func (w *requestWriter) place() {
	list := w.c.Messages
	w.asUser, w.last = -1, -1
	for i := range list {
		if !isPrompt(&list[i]) {
			w.last = i
		}
	}
	if w.last < 0 {
		w.asUser = len(list) - 1
		return
	}
	first := slices.IndexFunc(list, func(m dialect.Message) bool { return !isPrompt(&m) })
	// A prompt goes behind what the user says, before what the assistant says, or last.
	next := dialect.Assistant
	for i := len(list) - 1; i > first; i-- {
		if !isPrompt(&list[i]) {
			next = list[i].Role
			continue
		}
		behind := i - 1
		for behind > first && isPrompt(&list[behind]) {
			behind--
		}
		fits := w.version >= claude48 && next == dialect.Assistant && list[behind].Role == dialect.User
		if fits && w.inPlace == nil {
			w.inPlace = make([]bool, len(list))
		}
		for ; i > behind; i-- {
			if fits {
				w.inPlace[i] = true
			} else {
				w.c.Lost.Add("system_position")
			}
		}
		i++ // the loop goes on with the one behind which they stand
	}
}

// leads reports whether a message goes before all others, out of their list.
func (w *requestWriter) leads(i int) bool {
	return isPrompt(&w.c.Messages[i]) && i != w.asUser && (w.inPlace == nil || !w.inPlace[i])
}

// skips reports whether a message is no part of the list: one that leads it, or of which
// nothing was carried over.
func (w *requestWriter) skips(i int) bool { return w.leads(i) || len(w.c.Messages[i].Parts) == 0 }

func (w *requestWriter) system() {
	w.parts = w.parts[:0]
	for i := range w.c.Messages {
		if m := &w.c.Messages[i]; w.leads(i) {
			w.lose("name", m.Name)
			w.gatherPrompt(m.Parts)
		}
	}
	if len(w.parts) > 0 {
		w.b = append(w.b, `,"system":`...)
		w.content(false)
	}
}

func (w *requestWriter) gatherPrompt(parts []dialect.Part) {
	for k := range parts {
		switch p := &parts[k]; {
		case p.Kind != dialect.Text:
			w.c.Lost.Add(kindName(p.Kind))
		case !isBlank(p.Text):
			w.parts = append(w.parts, p)
		}
	}
}

func (w *requestWriter) messages() error {
	w.b = append(w.b, `,"messages":[`...)
	from := len(w.b)
	list := w.c.Messages
	for i := 0; i < len(list); {
		if w.skips(i) {
			i++
			continue
		}
		end := w.turn(i)
		w.group(i, end, from)
		i = end
	}
	if len(w.b) == from {
		return refuse("messages", "The model that is asked needs a message that says something.")
	}
	w.b = append(w.b, ']')
	return nil
}

// turn finds the end of what one says in a row from a message on.
func (w *requestWriter) turn(i int) (end int) {
	list := w.c.Messages
	for end = i + 1; end < len(list) && (w.skips(end) || list[end].Role == list[i].Role || isPrompt(&list[i]) && isPrompt(&list[end])); end++ {
	}
	return end
}

// group appends what one says in a row to the list that begins at from.
func (w *requestWriter) group(i, end, from int) {
	before := len(w.b)
	if before > from {
		w.b = append(w.b, ',')
	}
	w.parts = w.parts[:0]
	role := w.c.Messages[i].Role
	switch {
	case i == w.asUser, role == dialect.User:
		w.b = append(w.b, `{"role":"user","content":`...)
		w.gather(i, end, true)
		w.gather(i, end, false)
	case role == dialect.Assistant:
		w.b = append(w.b, `{"role":"assistant","content":`...)
		w.gather(i, end, false)
	default:
		w.b = append(w.b, `{"role":"system","content":`...)
		for ; i < end; i++ {
			w.gatherPrompt(w.c.Messages[i].Parts)
		}
	}
	for ; i < end; i++ {
		w.lose("name", w.c.Messages[i].Name)
	}
	if !w.content(role == dialect.Assistant && w.last < end) {
		w.b = w.b[:before]
		return
	}
	w.b = append(w.b, '}')
}

// gather takes the results of tools that messages have, or all else.
func (w *requestWriter) gather(i, end int, results bool) {
	for ; i < end; i++ {
		if w.leads(i) {
			continue
		}
		m := &w.c.Messages[i]
		for k := range m.Parts {
			p := &m.Parts[k]
			if (p.Kind == dialect.ToolResult) == results && w.fits(p, m.Role) {
				w.parts = append(w.parts, p)
			}
		}
	}
}

// fits reports whether a part has a place in a message, and notes it where it has none.
func (w *requestWriter) fits(p *dialect.Part, role dialect.Role) bool {
	switch p.Kind {
	case dialect.Text, dialect.Refusal:
		if len(p.Citations) > 0 {
			// They prove themselves by what only the service has.
			w.c.Lost.Add("citations")
		}
		return !isBlank(p.Text)
	case dialect.Thinking:
		if p.Signature != nil {
			return true
		}
		w.c.Lost.Add("reasoning")
		return false
	case dialect.ToolUse, dialect.ToolResult:
		return (p.Kind == dialect.ToolUse) == (role == dialect.Assistant)
	}
	m := &p.Media
	if p.Kind == dialect.Audio || role == dialect.Assistant || m.Data == nil && m.URL == nil && m.FileID == nil {
		w.c.Lost.Add(kindName(p.Kind))
		return false
	}
	w.lose("detail", m.Detail)
	return true
}

func kindName(k dialect.Kind) string {
	switch k {
	case dialect.Image:
		return "image"
	case dialect.Document:
		return "document"
	case dialect.Audio:
		return "audio"
	default:
		return "content"
	}
}

// content appends w.parts, a single text as that. ok is false where nothing is left of them. Of
// the last message the space at the end goes.
func (w *requestWriter) content(last bool) (ok bool) {
	parts := w.parts
	if last {
		parts = slices.Clone(parts)
		if n := len(parts) - 1; n >= 0 && (parts[n].Kind == dialect.Text || parts[n].Kind == dialect.Refusal) {
			p := *parts[n]
			p.Text = append(append([]byte{'"'}, trimmed(p.Text)...), '"')
			parts[n] = &p
		}
	}
	if len(parts) == 1 && parts[0].Kind == dialect.Text && parts[0].CacheControl == nil {
		w.b = append(w.b, parts[0].Text...)
		return true
	}
	w.b = append(w.b, '[')
	from := len(w.b)
	for _, p := range parts {
		w.block(p, from)
	}
	ok = len(w.b) > from
	w.b = append(w.b, ']')
	return ok
}

// block appends a part to the list that begins at from.
func (w *requestWriter) block(p *dialect.Part, from int) {
	before := len(w.b)
	if before > from {
		w.b = append(w.b, ',')
	}
	switch p.Kind {
	case dialect.Text, dialect.Refusal:
		w.b = append(append(w.b, `{"type":"text","text":`...), p.Text...)
	case dialect.Thinking:
		w.thought(p)
		return
	case dialect.ToolUse:
		w.toolUse(p)
	case dialect.ToolResult:
		w.toolResult(p)
	default:
		if !w.media(p) {
			w.b = w.b[:before]
			w.c.Lost.Add(kindName(p.Kind))
			return
		}
	}
	w.member("cache_control", p.CacheControl)
	w.b = append(w.b, '}')
}

// thought appends what the model thought, which is not cached by itself.
func (w *requestWriter) thought(p *dialect.Part) {
	if p.Text == nil {
		w.b = append(append(append(w.b, `{"type":"redacted_thinking","data":`...), p.Signature...), '}')
		return
	}
	w.b = append(append(w.b, `{"type":"thinking","thinking":`...), p.Text...)
	w.member("signature", p.Signature)
	w.b = append(w.b, '}')
}

func (w *requestWriter) toolUse(p *dialect.Part) {
	n := 0
	if !isID(p.ID) {
		w.calls++
		n = w.calls
		w.nameless = append(w.nameless, call{p.Name, n})
	}
	w.b = append(w.b, `{"type":"tool_use","id":`...)
	w.appendID(p.ID, n)
	w.member("name", dialect.OrEmpty(p.Name))
	ok := false
	if w.b, ok = dialect.AppendObject(append(w.b, `,"input":`...), p.Arguments); !ok {
		w.c.Lost.Add("arguments")
	}
}

// appendID appends an id with the characters that the API takes, or for none the one of
// the nth call without.
func (w *requestWriter) appendID(id []byte, n int) {
	switch {
	case !isID(id):
		w.b = jsonscan.AppendString(w.b, w.id("#"+strconv.Itoa(n), "call_"+strconv.Itoa(n)))
	case !bytes.ContainsFunc(id[1:len(id)-1], notOfID):
		w.b = append(w.b, id...)
	default:
		text := dialect.String(id)
		w.b = jsonscan.AppendString(w.b, w.id("="+text, fitting(text)))
	}
}

// isID reports whether there is an id: an empty one is none.
func isID(id []byte) bool { return dialect.IsText(id) && !dialect.IsEmpty(id) }

func fitting(id string) string {
	return strings.Map(func(c rune) rune {
		if notOfID(c) {
			return '_'
		}
		return c
	}, id)
}

// ids are the ids of calls where they cannot stay as they are. Each stands for one call and its
// results: one that is there already gets a number at its end.
type ids struct {
	given map[string]string // by what they are of
	taken map[string]int    // how often each was asked for
}

// id gives the id of what has a key, as wanted if that is free.
func (w *requestWriter) id(key, want string) string {
	if w.ids == nil {
		w.ids = &ids{map[string]string{}, map[string]int{}}
		for i := range w.c.Messages {
			for k := range w.c.Messages[i].Parts {
				p := &w.c.Messages[i].Parts[k]
				if text := dialect.String(p.ID); text != "" && fitting(text) == text { // which stays as it is
					w.ids.given["="+text] = text
					w.ids.taken[text] = 1
				}
			}
		}
	}
	got, is := w.ids.given[key]
	if is {
		return got
	}
	for got = want; w.ids.taken[got] > 0; got = want + "_" + strconv.Itoa(w.ids.taken[want]) {
		w.ids.taken[want]++
	}
	w.ids.taken[got] = 1
	w.ids.given[key] = got
	return got
}

func notOfID(c rune) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		return false
	}
	return true
}

// answered gives the call without an id that a result without one is of: the first of its
// name, or of all.
func (w *requestWriter) answered(p *dialect.Part) int {
	if isID(p.ID) || len(w.nameless) == 0 {
		return 0
	}
	const look = 64 // at a time, there are hardly ever more
	found := 0
	for i := range min(len(w.nameless), look) {
		if p.Name != nil && bytes.Equal(w.nameless[i].name, p.Name) {
			found = i
			break
		}
	}
	n := w.nameless[found].n
	copy(w.nameless[1:found+1], w.nameless[:found])
	w.nameless = w.nameless[1:]
	return n
}

func (w *requestWriter) toolResult(p *dialect.Part) {
	w.b = append(w.b, `{"type":"tool_result","tool_use_id":`...)
	w.appendID(p.ID, w.answered(p))
	if len(p.Result) == 1 && p.Result[0].Kind == dialect.Text && p.Result[0].CacheControl == nil {
		w.member("content", p.Result[0].Text)
	} else if len(p.Result) > 0 {
		w.b = append(w.b, `,"content":[`...)
		from := len(w.b)
		for i := range p.Result {
			if one := &p.Result[i]; one.Kind != dialect.ToolResult && w.fits(one, dialect.User) {
				w.block(one, from)
			}
		}
		w.b = append(w.b, ']')
	}
	if p.Failed {
		w.b = append(w.b, `,"is_error":true`...)
	}
}

// media appends an image or a document up to what it has in common with other blocks; ok is
// false where there is no way to say it.
func (w *requestWriter) media(p *dialect.Part) (ok bool) {
	m := &p.Media
	document := p.Kind == dialect.Document
	if document {
		w.b = append(w.b, `{"type":"document","source":`...)
	} else {
		w.b = append(w.b, `{"type":"image","source":`...)
	}
	switch {
	case m.Data != nil:
		kind := m.Type
		if kind == "" {
			kind = typeOf(m.Data, document)
		}
		if document && isTextual(kind) {
			return w.textSource(m)
		}
		w.b = jsonscan.AppendString(append(w.b, `{"type":"base64","media_type":`...), kind)
		w.b = append(append(append(w.b, `,"data":"`...), m.Data...), `"}`...)
	case m.URL != nil:
		w.b = append(append(append(w.b, `{"type":"url","url":`...), m.URL...), '}')
	default:
		w.files = true
		w.b = append(append(append(w.b, `{"type":"file","file_id":`...), m.FileID...), '}')
	}
	if document {
		w.member("title", m.Name)
	}
	return true
}

// textSource appends the text that a document's data are.
func (w *requestWriter) textSource(m *dialect.Media) (ok bool) {
	data := m.Data
	if bytes.IndexByte(data, '\\') >= 0 {
		data = bytes.ReplaceAll(data, []byte(`\/`), []byte("/"))
	}
	text, err := base64.StdEncoding.AppendDecode(nil, data)
	if err != nil || !utf8.Valid(text) {
		return false
	}
	w.b = append(w.b, `{"type":"text","media_type":"text/plain","data":`...)
	w.b = append(jsonscan.AppendString(w.b, string(text)), '}')
	w.member("title", m.Name)
	return true
}

// isTextual reports whether documents of a type are text.
func isTextual(kind string) bool {
	return strings.HasPrefix(kind, "text/") || kind == "application/json" || kind == "application/xml"
}

// typeOf guesses the type of data that came without one by how it begins, in base64.
func typeOf(data []byte, document bool) string {
	for _, known := range [...][2]string{{"iVBOR", "image/png"}, {"R0lGOD", "image/gif"}, {"UklGR", "image/webp"}, {"JVBERi", "application/pdf"}} {
		if bytes.HasPrefix(data, []byte(known[0])) {
			return known[1]
		}
	}
	if document {
		return "application/pdf"
	}
	return "image/jpeg"
}
