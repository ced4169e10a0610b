package messages

import (
	"encoding/base64"
	"errors"
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// place is where something stands in a request.
type place struct {
	in             string // the member of the message, or of the request
	message, block int    // -1 for none
}

// String names the place as the API's own errors do.
func (p place) String() string {
	s := p.in
	if p.message >= 0 {
		s = "messages." + strconv.Itoa(p.message) + "." + s
	}
	if p.block >= 0 {
		s += "." + strconv.Itoa(p.block)
	}
	return s
}

// content appends the parts that a content has, which is a text or a list of blocks.
func (r *requestReader) content(parts []dialect.Part, v []byte, at place) ([]dialect.Part, error) {
	if dialect.IsText(v) {
		return append(parts, dialect.Part{Kind: dialect.Text, Text: v}), nil
	}
	if !dialect.IsList(v) {
		return nil, refuse(at.String(), "A content is neither a string nor a list of blocks.")
	}
	for one := range r.c.Each(v) {
		at.block++
		if dialect.IsText(one) {
			parts = append(parts, dialect.Part{Kind: dialect.Text, Text: one})
			continue
		}
		var err error
		if parts, err = r.block(parts, one, at); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// maxInner is how deep contents stand in others: a document's in that of a tool's result.
const maxInner = 2

// inner is content for a member of a block that stands at a place.
func (r *requestReader) inner(parts []dialect.Part, v []byte, name string, at place) ([]dialect.Part, error) {
	if r.depth == maxInner {
		return nil, refuse(at.String()+"."+name, "Contents are nested too deeply.")
	}
	r.depth++
	parts, err := r.content(parts, v, place{in: name, message: -1, block: -1})
	r.depth--
	if e, ok := errors.AsType[*llm.Error](err); ok {
		e.Param = at.String() + "." + e.Param
	}
	return parts, err
}

// block is a block of a content, member by member. Those that are texts are nil where they have
// another type.
type block struct {
	kind, text, source, title, citations, cache []byte
	id, name, input, content, failed            []byte
	thinking, signature, data, context          []byte
}

func open(v []byte) (b block) {
	for name, v := range jsonscan.MembersOf(v) {
		if v = dialect.OrNil(v); v == nil {
			continue
		}
		var text *[]byte
		switch string(name) {
		case "type":
			text = &b.kind
		case "text":
			text = &b.text
		case "source":
			b.source = v
		case "title":
			text = &b.title
		case "citations":
			b.citations = v
		case "cache_control":
			b.cache = dialect.ObjectOf(v)
		case "id", "tool_use_id":
			text = &b.id
		case "name":
			text = &b.name
		case "input":
			b.input = dialect.ObjectOf(v)
		case "content":
			b.content = v
		case "is_error":
			b.failed = v
		case "thinking":
			text = &b.thinking
		case "signature":
			text = &b.signature
		case "data":
			text = &b.data
		case "context":
			b.context = v
		}
		if text != nil && dialect.IsText(v) {
			*text = v
		}
	}
	return b
}

// block appends what a block says: one that is nothing that the vocabulary has is noted by
// its type.
func (r *requestReader) block(parts []dialect.Part, v []byte, at place) ([]dialect.Part, error) {
	b := open(v)
	if !dialect.IsText(b.kind) {
		return nil, refuse(at.String(), "A block is no object with a type.")
	}
	p := dialect.Part{CacheControl: b.cache}
	switch string(b.kind) {
	case `"text"`:
		if !dialect.IsText(b.text) {
			return nil, refuse(at.String()+".text", "The text of a block is not a string.")
		}
		p.Text = b.text
		for one := range r.c.Each(b.citations) {
			p.Citations = append(p.Citations, citationOf(one))
		}
	case `"image"`:
		p.Kind, p.Media = dialect.Image, media(b.source)
	case `"document"`:
		return r.document(parts, &b, at)
	case `"search_result"`:
		return r.searched(parts, &b, at)
	case `"thinking"`:
		p = dialect.Part{Kind: dialect.Thinking, Text: dialect.OrEmpty(b.thinking), Signature: dialect.FilledText(b.signature)}
	case `"redacted_thinking"`:
		p = dialect.Part{Kind: dialect.Thinking, Signature: dialect.FilledText(b.data)}
	case `"tool_use"`:
		p.Kind, p.ID, p.Name, p.Arguments = dialect.ToolUse, dialect.FilledText(b.id), dialect.FilledText(b.name), b.input
	case `"tool_result"`:
		p.Kind, p.ID, p.Failed = dialect.ToolResult, dialect.FilledText(b.id), string(b.failed) == "true"
		if b.content != nil {
			var err error
			if p.Result, err = r.inner(nil, b.content, "content", at); err != nil {
				return nil, err
			}
		}
	default:
		r.c.Lost.Add(dialect.String(b.kind))
		return parts, nil
	}
	return append(parts, p), nil
}

// media reads a source that is no document's.
func media(source []byte) (m dialect.Media) {
	for name, v := range jsonscan.MembersOf(source) {
		if !dialect.IsText(v) {
			continue
		}
		switch string(name) {
		case "media_type":
			m.Type = dialect.String(v)
		case "data":
			m.Data = v[1 : len(v)-1]
		case "url":
			m.URL = v
		case "file_id":
			m.FileID = v
		}
	}
	if kind, data, ok := dialect.DataURL(m.URL); ok {
		m.Type, m.Data, m.URL = kind, data, nil
	}
	return m
}

// document appends a document. One that is text is data of the type text/plain, and so is
// one that is made of blocks, of which the texts count.
func (r *requestReader) document(parts []dialect.Part, b *block, at place) ([]dialect.Part, error) {
	p := dialect.Part{Kind: dialect.Document, CacheControl: b.cache}
	switch kind := jsonscan.Member(b.source, "type"); {
	case dialect.Is(kind, "text"):
		text := jsonscan.Member(b.source, "data")
		if !dialect.IsText(text) {
			return nil, refuse(at.String()+".source.data", "The text of a document is not a string.")
		}
		p.Media = plain(jsonscan.AppendText(nil, text))
	case dialect.Is(kind, "content"):
		list, err := r.inner(nil, jsonscan.Member(b.source, "content"), "source.content", at)
		if err != nil {
			return nil, err
		}
		p.Media = plain(r.joined(list))
	default:
		p.Media = media(b.source)
	}
	p.Media.Name = dialect.FilledText(b.title)
	if b.context != nil {
		r.c.Lost.Add("context")
	}
	if string(jsonscan.Member(b.citations, "enabled")) == "true" {
		r.c.Lost.Add("citations")
	}
	return append(parts, p), nil
}

func plain(text []byte) dialect.Media {
	return dialect.Media{Type: "text/plain", Data: base64.StdEncoding.AppendEncode(nil, text)}
}

// joined is what the texts among some parts say.
func (r *requestReader) joined(parts []dialect.Part) (text []byte) {
	for i := range parts {
		if parts[i].Kind != dialect.Text {
			r.c.Lost.Add("image")
			continue
		}
		if len(text) > 0 {
			text = append(text, '\n')
		}
		text = jsonscan.AppendText(text, parts[i].Text)
	}
	return text
}

// searched appends what a search result says as texts, its title and source before the
// others: no other dialect has a word for one.
func (r *requestReader) searched(parts []dialect.Part, b *block, at place) ([]dialect.Part, error) {
	for _, head := range [...][]byte{b.title, b.source} {
		if head = dialect.FilledText(head); head != nil {
			parts = append(parts, dialect.Part{Kind: dialect.Text, Text: head})
		}
	}
	if string(jsonscan.Member(b.citations, "enabled")) == "true" {
		r.c.Lost.Add("citations")
	}
	return r.inner(parts, b.content, "content", at)
}

// citationOf reads a citation of any type, without its place in the text.
func citationOf(v []byte) (c dialect.Citation) {
	for name, v := range jsonscan.MembersOf(v) {
		if !dialect.IsText(v) {
			continue
		}
		switch string(name) {
		case "url", "source":
			c.URL = v
		case "title", "document_title":
			c.Title = v
		case "cited_text":
			c.Cited = v
		}
	}
	return c
}
