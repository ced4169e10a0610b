package responses

import (
	"strings"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

// madeImage is the image of an item that the service made, without data where it is not there.
func madeImage(item []byte) dialect.Media {
	m := dialect.Media{Type: "image/png"}
	for name, v := range jsonscan.MembersOf(item) {
		switch string(name) {
		case "result":
			m.Data = bareOf(filled(v))
		case "output_format":
			if format := dialect.String(dialect.TextOf(v)); format != "" {
				m.Type = "image/" + format
			}
		}
	}
	return m
}

// image reads an image that the model has made in an earlier reply.
func (r *requestReader) image(item []byte) {
	if m := madeImage(item); m.Data != nil {
		to := r.model()
		to.Parts = append(to.Parts, dialect.Part{Kind: dialect.Image, Media: m})
	} else {
		r.c.Lost.Add("image_generation_call")
	}
}

// image reads an image that the service made.
func (r *Reader) image(item []byte, say func(*dialect.Event) error) error {
	m := madeImage(item)
	if m.Data == nil {
		return nil
	}
	r.thought = false
	c := r.event.Choice(0)
	c.Images = append(c.Images, m)
	return say(&r.event)
}

// image writes an image, as one that a tool of the service has made: that item alone has a place
// for it. One that is elsewhere has none.
func (w *Writer) image(dst []byte, m *dialect.Media) []byte {
	if m.Data == nil {
		w.lost.Add("images")
		return dst
	}
	dst, index := w.newItem(dst)
	if !w.silent {
		dst = append(w.imageItem(w.itemEvent(dst, "response.output_item.added", index), index), `in_progress","result":null}`...)
		dst = w.endEvent(dst)
	}
	from := len(w.output)
	w.output = append(w.imageItem(w.output, index), `completed"`...)
	if format, ok := strings.CutPrefix(m.Type, "image/"); ok {
		w.output = jsonscan.AppendString(append(w.output, `,"output_format":`...), format)
	}
	w.held += len(m.Data)
	w.output = append(append(append(w.output, `,"result":"`...), m.Data...), `"}`...)
	dst = w.endEvent(w.ofItem(dst, "response.image_generation_call.completed", imageItem, index))
	return w.itemDone(dst, index, from)
}

// imageItem appends the item that an image is, up to its status.
func (w *Writer) imageItem(dst []byte, index int) []byte {
	dst = w.itemID(append(dst, `{"id":"`...), imageItem, index)
	return append(dst, `","type":"image_generation_call","status":"`...)
}
