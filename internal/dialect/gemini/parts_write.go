package gemini

import "sluice/internal/dialect"

// partList appends the parts of a content.
type partList struct {
	b         []byte
	from      int    // where the list begins
	signature []byte // of thoughts: it stands on the part that comes next
}

func (p *partList) empty() bool { return len(p.b) == p.from }

func (p *partList) open() {
	if !p.empty() {
		p.b = append(p.b, ',')
	}
	p.b = append(p.b, '{')
}

func (p *partList) close() {
	if p.signature != nil {
		p.b = append(append(p.b, `,"thoughtSignature":`...), p.signature...)
		p.signature = nil
	}
	p.b = append(p.b, '}')
}

// text appends a text. An empty one the API refuses.
func (p *partList) text(v []byte) {
	if v == nil || dialect.IsEmpty(v) {
		return
	}
	p.open()
	p.b = append(append(p.b, `"text":`...), v...)
	p.close()
}

// thought appends a thought, whose signature is that of a part after it.
func (p *partList) thought(v []byte) {
	p.flush()
	if v == nil || dialect.IsEmpty(v) {
		return
	}
	p.open()
	p.b = append(append(append(p.b, `"text":`...), v...), `,"thought":true}`...)
}

// sign takes the signature of the thoughts up to here. One that is no base64 was not made by
// a service of this API, and clients of it fail on it.
func (p *partList) sign(v []byte) (ok bool) {
	p.flush()
	if !isBase64(v) {
		return false
	}
	p.signature = v
	return true
}

// flush appends a signature that there is no part for with an empty text, as the API does.
func (p *partList) flush() {
	if p.signature != nil {
		p.open()
		p.b = append(p.b, `"text":""`...)
		p.close()
	}
}

// data appends what is no text.
func (p *partList) data(mediaType string, data []byte) {
	p.open()
	p.b = append(append(append(p.b, `"inlineData":{"mimeType":"`...), mediaType...), `","data":"`...)
	p.b = append(append(p.b, data...), `"}`...)
	p.close()
}

// call appends a call whose arguments are an object, or a text that holds one. ok is false
// where they are neither, and stand for nothing: {} is in their place.
func (p *partList) call(id, name, arguments []byte) (ok bool) {
	p.open()
	p.b = append(append(p.b, `"functionCall":{"name":`...), dialect.OrEmpty(name)...)
	if len(id) > 0 && !dialect.IsEmpty(id) {
		p.b = append(append(p.b, `,"id":`...), id...)
	}
	p.b, ok = dialect.AppendObject(append(p.b, `,"args":`...), arguments)
	p.b = append(p.b, '}')
	p.close()
	return ok
}

func isBase64(v []byte) bool {
	if !dialect.IsText(v) || len(v) == 2 {
		return false
	}
	for i, c := range v[1 : len(v)-1] {
		switch {
		case c == '\\' && v[i+2] == '/':
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '+', c == '/', c == '-', c == '_', c == '=':
		default:
			return false
		}
	}
	return true
}
