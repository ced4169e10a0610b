package gemini

import (
	"strings"

	"sluice/internal/dialect"
	"sluice/internal/llm"
)

// WriteRequest implements dialect.Dialect.
func (Dialect) WriteRequest(dst []byte, c *dialect.Conversation, _ dialect.Options) (dialect.Asked, error) {
	if walks(c.Model) {
		return dialect.Asked{}, refuse("model", "The name of the model cannot be a part of a path.")
	}
	from := len(dst)
	w := requestWriter{c: c, version: versionOf(c.Model)}
	w.list.b = append(dst, '{')
	w.system()
	w.contents()
	w.tools()
	w.settings()
	w.list.b = append(w.list.b, '}')
	asked := dialect.Asked{Op: llm.GenerateContent, Path: Path(c.Model, Generate), Body: w.list.b[from:]}
	if c.Stream {
		asked.Path, asked.RawQuery = Path(c.Model, GenerateStream), "alt=sse"
	}
	return asked, nil
}

type requestWriter struct {
	c       *dialect.Conversation
	list    partList // of the content that is written; its b is the whole body
	version version

	kind   contentKind     // of the content that is written
	filled bool            // there is a content
	called bool            // the content has a call
	media  []*dialect.Part // of results, where those have no place for them: they come after all results
	calls  []named         // that were made
	from   int             // where generationConfig begins
}

// contentKind tells contents apart. Results of tools are in one of their own, all of those of a
// turn, directly after the calls.
type contentKind uint8

const (
	noContent contentKind = iota
	ofUser
	ofModel
	ofTools
)

// named is a call: its result has to have its name.
type named struct{ id, name []byte }

func (w *requestWriter) append(s string) { w.list.b = append(w.list.b, s...) }

// member appends a member whose value is JSON, if there is one.
func (w *requestWriter) member(name string, v []byte) {
	if v != nil {
		w.list.b = append(append(append(append(w.list.b, ',', '"'), name...), `":`...), v...)
	}
}

func (w *requestWriter) lose(name string, v []byte) {
	if v != nil {
		w.c.Lost.Add(name)
	}
}

func isPrompt(m *dialect.Message) bool {
	return m.Role == dialect.System || m.Role == dialect.Developer
}

// asUser is the prompt that the user says, since nothing else does: -1 for none.
func (w *requestWriter) asUser() int {
	for i := range w.c.Messages {
		if !isPrompt(&w.c.Messages[i]) {
			return -1
		}
	}
	return len(w.c.Messages) - 1
}

// system appends the prompts, wherever they stand: there is one place for them.
func (w *requestWriter) system() {
	not := w.asUser()
	begun, moved := false, false
	for i := range w.c.Messages {
		m := &w.c.Messages[i]
		if !isPrompt(m) || i == not {
			moved = true // is what comes after it
			continue
		}
		if moved {
			w.c.Lost.Add("system_position")
		}
		if !begun {
			begun = true
			w.append(`"systemInstruction":{"parts":[`)
			w.list.from = len(w.list.b)
		}
		w.lose("name", m.Name)
		for k := range m.Parts {
			w.part(&m.Parts[k])
		}
	}
	if begun {
		if w.list.empty() {
			w.append(`{"text":""}`)
		}
		w.append(`]},`)
	}
}

func (w *requestWriter) contents() {
	w.append(`"contents":[`)
	user := w.asUser()
	for i := range w.c.Messages {
		m := &w.c.Messages[i]
		if isPrompt(m) && i != user {
			continue
		}
		w.lose("name", m.Name)
		if m.Role == dialect.Assistant {
			w.model(m)
		} else {
			w.user(m)
		}
	}
	w.others()
	if w.end(); !w.filled {
		w.append(`{"role":"user","parts":[{"text":""}]}`)
	}
	w.append(`]`)
}

// begin begins a content, where the one that is written is of another kind.
func (w *requestWriter) begin(kind contentKind) {
	if w.kind == kind {
		return
	}
	if w.end(); w.filled {
		w.append(",")
	}
	role := `{"role":"user","parts":[`
	if kind == ofModel {
		role = `{"role":"model","parts":[`
	}
	w.append(role)
	w.kind, w.filled, w.called, w.list.from = kind, true, false, len(w.list.b)
}

func (w *requestWriter) end() {
	if w.kind != noContent {
		w.append("]}")
		w.kind = noContent
	}
}

// says reports whether a part is more than an empty text.
func says(p *dialect.Part) bool {
	switch p.Kind {
	case dialect.Text, dialect.Refusal:
		return p.Text != nil && !dialect.IsEmpty(p.Text)
	case dialect.Thinking:
		return p.Signature != nil || p.Text != nil && !dialect.IsEmpty(p.Text)
	default:
		return true
	}
}

func (w *requestWriter) model(m *dialect.Message) {
	w.others()
	for i := range m.Parts {
		p := &m.Parts[i]
		if !says(p) {
			continue
		}
		w.begin(ofModel)
		switch p.Kind {
		case dialect.Thinking:
			w.list.thought(p.Text)
			w.sign(p.Signature)
		case dialect.ToolUse:
			w.call(p)
		default:
			w.part(p)
		}
	}
	w.list.flush()
}

func (w *requestWriter) sign(signature []byte) {
	if signature != nil && !w.list.sign(signature) {
		w.c.Lost.Add("signature")
	}
}

// unsigned stands in place of the signature of a call that another service made. From
// Gemini 3 on the first call of a content has to have one; this is what Google's page on
// thought signatures names for the purpose.
const unsigned = `"skip_thought_signature_validator"`

func (w *requestWriter) call(p *dialect.Part) {
	if p.Signature != nil {
		w.sign(p.Signature)
	}
	if !w.called && w.list.signature == nil && w.version >= levels {
		w.list.signature = []byte(unsigned)
	}
	w.called = true
	if !w.list.call(p.ID, p.Name, p.Arguments) {
		w.c.Lost.Add("arguments")
	}
	w.lose("cache_control", p.CacheControl)
	w.calls = append(w.calls, named{p.ID, p.Name})
}

func (w *requestWriter) user(m *dialect.Message) {
	for i := range m.Parts {
		if p := &m.Parts[i]; p.Kind == dialect.ToolResult {
			w.begin(ofTools)
			w.result(p)
		}
	}
	for i := range m.Parts {
		if p := &m.Parts[i]; p.Kind != dialect.ToolResult && says(p) {
			w.others()
			w.begin(ofUser)
			w.part(p)
		}
	}
}

// others appends what results have that is no text, as the user's.
func (w *requestWriter) others() {
	list := w.media
	w.media = w.media[:0]
	for _, p := range list {
		w.begin(ofUser)
		w.part(p)
	}
}

// maxSearched bounds the calls among which that of a result is looked for.
const maxSearched = 1024

// nameOf gives the name of the call that a result is of: its id where there is no such call.
func (w *requestWriter) nameOf(id []byte) []byte {
	for i := len(w.calls) - 1; i >= max(0, len(w.calls)-maxSearched); i-- {
		if string(w.calls[i].id) == string(id) && w.calls[i].name != nil {
			return w.calls[i].name
		}
	}
	if id == nil || dialect.IsEmpty(id) {
		return []byte(`"tool"`)
	}
	return id
}

func (w *requestWriter) result(p *dialect.Part) {
	w.list.open()
	w.append(`"functionResponse":{"name":`)
	w.list.b = append(w.list.b, w.nameOf(p.ID)...)
	if p.ID != nil && !dialect.IsEmpty(p.ID) {
		w.member("id", p.ID)
	}
	w.append(`,"response":`)
	w.response(p)
	w.resultParts(p)
	w.append(`}`)
	w.list.close()
	w.lose("cache_control", p.CacheControl)
}

// resultParts appends what a result has that is no text. Before Gemini 3 it has no place there.
func (w *requestWriter) resultParts(p *dialect.Part) {
	from := w.list.from
	begun := false
	for i := range p.Result {
		one := &p.Result[i]
		switch {
		case one.Kind == dialect.Text:
			continue
		case w.version < levels || one.Media.Data == nil:
			w.media = append(w.media, one)
			continue
		case !begun:
			begun = true
			w.append(`,"parts":[`)
			w.list.from = len(w.list.b)
		}
		w.part(one)
	}
	if begun {
		w.append("]")
	}
	w.list.from = from
}

// response appends what a tool said: an object as it is, anything else as the "output" of
// one, or its "error".
func (w *requestWriter) response(p *dialect.Part) {
	var texts [][]byte
	for i := range p.Result {
		if one := &p.Result[i]; one.Kind == dialect.Text {
			texts = append(texts, dialect.OrEmpty(one.Text))
			w.lose("cache_control", one.CacheControl)
		}
	}
	if len(texts) == 1 && !p.Failed && len(texts[0]) > 2 && texts[0][1] == '{' {
		from := len(w.list.b)
		var ok bool
		if w.list.b, ok = dialect.AppendObject(w.list.b, texts[0]); ok {
			return
		}
		w.list.b = w.list.b[:from]
	}
	key := `{"output":`
	if p.Failed {
		key = `{"error":`
	}
	w.append(key)
	if len(texts) == 1 {
		w.list.b = append(w.list.b, texts[0]...)
	} else {
		w.list.b = dialect.AppendJoined(w.list.b, texts, `\n`)
	}
	w.append(`}`)
}

// part appends a text or something that is none.
func (w *requestWriter) part(p *dialect.Part) {
	w.lose("cache_control", p.CacheControl)
	m := &p.Media
	switch p.Kind {
	case dialect.Text, dialect.Refusal:
		w.list.text(p.Text)
		if len(p.Citations) > 0 {
			w.c.Lost.Add("citations")
		}
		return
	case dialect.Image, dialect.Document, dialect.Audio:
	default:
		w.c.Lost.Add("content")
		return
	}
	if m.Detail != nil && !dialect.Is(m.Detail, "auto") {
		w.c.Lost.Add("detail")
	}
	switch {
	case m.Data != nil:
		w.list.data(typeOf(p), m.Data)
	case m.URL != nil:
		w.list.open()
		w.append(`"fileData":{"mimeType":"`)
		w.append(typeOf(p))
		w.append(`"`)
		w.member("fileUri", m.URL)
		w.append(`}`)
		w.list.close()
	default: // a file that another service keeps
		w.c.Lost.Add(kindName(p.Kind))
	}
}

func kindName(k dialect.Kind) string {
	switch k {
	case dialect.Image:
		return "image"
	case dialect.Audio:
		return "audio"
	default:
		return "document"
	}
}

// typeOf is the media type, which the API requires: where it is not told, it is that which
// the data begin like, or the address ends like.
func typeOf(p *dialect.Part) string {
	m := &p.Media
	if m.Type != "" && saneType(m.Type) {
		return m.Type
	}
	for _, one := range [...]struct{ begins, ends, is string }{
		{"iVBOR", ".png", "image/png"},
		{"/9j/", ".jpg", "image/jpeg"},
		{"/9j/", ".jpeg", "image/jpeg"},
		{"R0lG", ".gif", "image/gif"},
		{"UklGR", ".webp", "image/webp"},
		{"JVBER", ".pdf", "application/pdf"},
	} {
		if m.Data != nil && strings.HasPrefix(string(m.Data[:min(len(m.Data), 8)]), one.begins) || m.URL != nil && strings.HasSuffix(string(m.URL), one.ends+`"`) {
			return one.is
		}
	}
	switch p.Kind {
	case dialect.Image:
		return "image/png"
	case dialect.Audio:
		return "audio/wav"
	default:
		return "application/pdf"
	}
}

// saneType reports whether a media type needs no escapes in JSON.
func saneType(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '"' || c == '\\' || c >= 0x7f {
			return false
		}
	}
	return true
}
