package gemini

import (
	"bytes"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// maxSources bounds the sources of a reply that are told apart.
const maxSources = 1024

// cites reads citationMetadata: what the model has repeated word for word.
func (r *reader) cites(c *dialect.Choice, o *offsets, v []byte) {
	for name, list := range jsonscan.MembersOf(v) {
		if string(name) != "citationSources" && string(name) != "citations" {
			continue
		}
		for v := range jsonscan.ElementsOf(list) {
			if len(c.Citations) >= dialect.MaxCitations {
				break
			}
			var one dialect.Citation
			for name, v := range jsonscan.MembersOf(v) {
				switch string(name) {
				case "uri":
					one.URL = dialect.FilledText(v)
				case "title":
					one.Title = dialect.FilledText(v)
				}
			}
			place(&one, o, v)
			c.Citations = append(c.Citations, one)
		}
	}
}

// place reads which part of the text it is about, where that is known.
func place(c *dialect.Citation, o *offsets, v []byte) {
	start, end := 0, 0
	for name, v := range jsonscan.MembersOf(v) {
		switch string(name) {
		case "startIndex":
			start = int(intOf(v))
		case "endIndex":
			end = int(intOf(v))
		case "partIndex":
			if intOf(v) != 0 { // offsets are from the beginning of another part
				return
			}
		}
	}
	first, ok := o.characters(start)
	last, known := o.characters(end)
	if ok && known && first < last {
		c.Start, c.End = first, last
	}
}

// grounds reads groundingMetadata: what a search of the service has found.
func (r *reader) grounds(c *dialect.Choice, o *offsets, v []byte) {
	r.sources = r.sources[:0]
	for v := range jsonscan.ElementsOf(jsonscan.Member(v, "groundingChunks")) {
		if len(r.sources) == maxSources {
			break
		}
		r.sources = append(r.sources, source(v))
	}
	before := len(c.Citations)
	for v := range jsonscan.ElementsOf(jsonscan.Member(v, "groundingSupports")) {
		segment := jsonscan.Member(v, "segment")
		for i := range jsonscan.ElementsOf(jsonscan.Member(v, "groundingChunkIndices")) {
			n := intOf(i)
			if n < 0 || n >= int64(len(r.sources)) || len(c.Citations) >= dialect.MaxCitations {
				continue
			}
			one := r.sources[n]
			if place(&one, o, segment); one.Cited == nil {
				one.Cited = dialect.FilledText(jsonscan.Member(segment, "text"))
			}
			c.Citations = append(c.Citations, one)
		}
	}
	if len(c.Citations) == before {
		c.Citations = append(c.Citations, r.sources...)
	}
}

// source reads a page, or a passage of a document.
func source(v []byte) (one dialect.Citation) {
	for kind, v := range jsonscan.MembersOf(v) {
		for name, v := range jsonscan.MembersOf(v) {
			switch string(name) {
			case "uri":
				one.URL = dialect.FilledText(v)
			case "title":
				one.Title = dialect.FilledText(v)
			case "text":
				if string(kind) == "retrievedContext" {
					one.Cited = dialect.FilledText(v)
				}
			}
		}
	}
	return one
}

// grounding is the groundingMetadata of a choice, which is written when the choice ends.
type grounding struct {
	sources  []byte // elements of its list
	spans    [][2]int
	supports []byte
}

func (g *grounding) reset() {
	if cap(g.sources)+cap(g.supports) > 64<<10 {
		*g = grounding{}
	}
	g.sources, g.spans, g.supports = g.sources[:0], g.spans[:0], g.supports[:0]
}

// maxGrounding bounds what is kept of it, in bytes: more is passed over.
const maxGrounding = 4 << 20

func (g *grounding) add(c *dialect.Citation, o *offsets) {
	if len(g.sources)+len(g.supports) > maxGrounding {
		return
	}
	n := g.source(c)
	if len(g.supports) > 0 {
		g.supports = append(g.supports, ',')
	}
	b := append(g.supports, `{"segment":{`...)
	first, ok := o.bytes(c.Start)
	last, known := o.bytes(c.End)
	if ok && known && first < last {
		b = appendInt(append(b, `"startIndex":`...), int64(first))
		b = appendInt(append(b, `,"endIndex":`...), int64(last))
		if c.Cited != nil {
			b = append(b, ',')
		}
	}
	if c.Cited != nil {
		b = append(append(b, `"text":`...), c.Cited...)
	}
	g.supports = append(appendInt(append(b, `},"groundingChunkIndices":[`...), int64(n)), "]}"...)
}

// source gives which of the sources it is, a new one if need be.
func (g *grounding) source(c *dialect.Citation) int {
	from := len(g.sources)
	b := g.sources
	if from > 0 {
		b = append(b, ',')
	}
	start := len(b)
	if c.URL != nil {
		b = append(append(b, `{"web":{"uri":`...), c.URL...)
		b = append(append(b, `,"title":`...), dialect.OrEmpty(c.Title)...)
	} else {
		b = append(append(b, `{"retrievedContext":{"title":`...), dialect.OrEmpty(c.Title)...)
		b = append(append(b, `,"text":`...), dialect.OrEmpty(c.Cited)...)
	}
	b = append(b, "}}"...)
	for i, s := range g.spans[max(0, len(g.spans)-maxSources):] {
		if bytes.Equal(b[s[0]:s[1]], b[start:]) {
			g.sources = b[:from]
			return max(0, len(g.spans)-maxSources) + i
		}
	}
	g.sources, g.spans = b, append(g.spans, [2]int{start, len(b)})
	return len(g.spans) - 1
}

func (g *grounding) append(dst []byte) []byte {
	if len(g.spans) == 0 {
		return dst
	}
	dst = append(append(dst, `,"groundingMetadata":{"groundingChunks":[`...), g.sources...)
	return append(append(append(dst, `],"groundingSupports":[`...), g.supports...), "]}"...)
}
