package responses

import (
	"strconv"

	"sluice/internal/dialect"
	"sluice/internal/jsonscan"
)

func appendFailure(dst []byte, code, message string) []byte {
	if code == "" {
		code = "server_error"
	}
	if message == "" {
		message = "The model's service failed."
	}
	dst = jsonscan.AppendString(append(dst, `{"code":`...), code)
	return append(jsonscan.AppendString(append(dst, `,"message":`...), message), '}')
}

// response appends the reply as it is by now: with the items that are whole where it has
// ended. failure is an object, nil for none.
func (w *Writer) response(dst []byte, status, reason string, failure []byte) []byte {
	dst = append(append(dst, `{"id":`...), w.id...)
	dst = strconv.AppendInt(append(dst, `,"object":"response","created_at":`...), w.createdAt, 10)
	dst = append(append(append(dst, `,"status":"`...), status...), `","error":`...)
	dst = append(orNull(dst, failure), `,"incomplete_details":`...)
	if reason != "" {
		dst = append(append(append(dst, `{"reason":"`...), reason...), `"}`...)
	} else {
		dst = append(dst, "null"...)
	}
	dst = append(append(append(dst, `,"model":`...), w.model...), `,"output":[`...)
	n := 0
	for _, at := range w.whole {
		if at.to == 0 {
			continue
		}
		if n++; n > 1 {
			dst = append(dst, ',')
		}
		dst = append(dst, w.output[at.from:at.to]...)
	}
	dst = append(dst, `],"usage":`...)
	if w.ended && w.usage.Known() {
		dst = appendUsage(dst, &w.usage)
	} else {
		dst = append(dst, "null"...)
	}
	return append(append(dst, w.echo...), '}')
}

func orNull(dst, v []byte) []byte {
	if v == nil {
		return append(dst, "null"...)
	}
	return append(dst, v...)
}

func appendUsage(dst []byte, u *dialect.Usage) []byte {
	dst = strconv.AppendInt(append(dst, `{"input_tokens":`...), u.Prompt, 10)
	dst = strconv.AppendInt(append(dst, `,"input_tokens_details":{"cached_tokens":`...), u.Cached, 10)
	dst = strconv.AppendInt(append(dst, `,"cache_write_tokens":`...), u.CacheWritten, 10)
	dst = strconv.AppendInt(append(dst, `},"output_tokens":`...), u.Completion, 10)
	dst = strconv.AppendInt(append(dst, `,"output_tokens_details":{"reasoning_tokens":`...), u.Reasoning, 10)
	return append(strconv.AppendInt(append(dst, `},"total_tokens":`...), u.Prompt+u.Completion, 10), '}')
}

// change appends an event that tells of the whole reply.
func (w *Writer) change(dst []byte, name, status, reason string, failure []byte) []byte {
	if w.silent {
		return dst
	}
	dst = append(w.event(dst, name), `,"response":`...)
	return w.endEvent(w.response(dst, status, reason, failure))
}

// What follows appends events, or nothing where the reply is one that is whole.

// event begins an event.
func (w *Writer) event(dst []byte, name string) []byte {
	if w.silent {
		return dst
	}
	dst = append(append(dst, "event: "...), name...)
	dst = append(append(dst, "\ndata: {\"type\":\""...), name...)
	dst = strconv.AppendInt(append(dst, `","sequence_number":`...), int64(w.sequence), 10)
	w.sequence++
	return dst
}

func (w *Writer) endEvent(dst []byte) []byte { return w.raw(dst, "}\n\n") }

// raw appends some of an event.
func (w *Writer) raw(dst []byte, s string) []byte {
	if w.silent {
		return dst
	}
	return append(dst, s...)
}

// value appends a member of an event; a nil value follows.
func (w *Writer) value(dst []byte, name string, v []byte) []byte {
	if w.silent {
		return dst
	}
	return append(append(append(append(dst, ',', '"'), name...), `":`...), v...)
}

// quoted appends a member that is a text, of which the inside is given.
func (w *Writer) quoted(dst []byte, name string, inner []byte) []byte {
	if w.silent {
		return dst
	}
	return append(append(w.value(dst, name, []byte{'"'}), inner...), '"')
}

func (w *Writer) number(dst []byte, name string, n int) []byte {
	if w.silent {
		return dst
	}
	return strconv.AppendInt(w.value(dst, name, nil), int64(n), 10)
}

// ofItem begins an event about the item of an index.
func (w *Writer) ofItem(dst []byte, name string, kind itemKind, index int) []byte {
	if w.silent {
		return dst
	}
	dst = w.itemID(append(w.event(dst, name), `,"item_id":"`...), kind, index)
	return w.number(append(dst, '"'), "output_index", index)
}

// ofPart begins an event about the part of the open item that goes on.
func (w *Writer) ofPart(dst []byte, name, index string) []byte {
	o := &w.open
	return w.number(w.ofItem(dst, name, o.kind, o.index), index, o.count)
}

// itemEvent begins an event that holds the item of an index, which follows.
func (w *Writer) itemEvent(dst []byte, name string, index int) []byte {
	return w.value(w.number(w.event(dst, name), "output_index", index), "item", nil)
}

// itemID appends the id of the item of an index.
func (w *Writer) itemID(dst []byte, kind itemKind, index int) []byte {
	switch kind {
	case messageItem:
		dst = append(dst, "msg_"...)
	case reasoningItem:
		dst = append(dst, "rs_"...)
	case functionItem:
		dst = append(dst, "fc_"...)
	case customItem:
		dst = append(dst, "ctc_"...)
	case shellItem:
		dst = append(dst, "lsh_"...)
	case imageItem:
		dst = append(dst, "ig_"...)
	}
	return strconv.AppendInt(append(append(dst, w.base...), '_'), int64(index), 10)
}
