package gemini

import (
	"sluice/internal/dialect"
	"sluice/internal/llm"
	"sluice/internal/sse"
)

// fragment is a chunk that is read as one.
type fragment struct{ dialect.Fragment }

// Fragment implements dialect.Streamed: a chunk with one candidate that has one part, which is a
// text or a thought without a signature, and no reason why it ended. Usage is of all up to a
// chunk, so that of the later one counts.
func (*streams) Fragment(raw []byte) (dialect.Fragment, bool) {
	object, ok := sse.OneField(raw)
	if !ok {
		return dialect.Fragment{}, false
	}
	f := fragment{dialect.Fragment{Raw: raw}}
	ok = f.Members(object, f.readChunk) == nil && f.Has(0)
	return f.Fragment, ok
}

func (f *fragment) readChunk(key []byte, v llm.Span) error {
	switch string(key) {
	case "candidates":
		return f.Only(v, f.readCandidate)
	case "usageMetadata", "usage_metadata":
		return f.Vary(0, '{', v)
	case "modelVersion", "model_version", "responseId", "response_id", "createTime", "create_time":
		return f.Scalar(v)
	default:
		return f.Empty(v)
	}
}

func (f *fragment) readCandidate(v llm.Span) error {
	return f.Members(v, func(key []byte, v llm.Span) error {
		switch string(key) {
		case "content":
			return f.Members(v, f.readContent)
		case "index":
			return f.Scalar(v)
		case "safetyRatings", "safety_ratings":
			return nil // a verdict, which holds for the joined text if for both
		default:
			return f.Empty(v)
		}
	})
}

func (f *fragment) readContent(key []byte, v llm.Span) error {
	switch string(key) {
	case "role":
		return f.Scalar(v)
	case "parts":
		return f.Only(v, f.readPart)
	default:
		return f.Empty(v)
	}
}

func (f *fragment) readPart(v llm.Span) error {
	return f.Members(v, func(key []byte, v llm.Span) error {
		switch string(key) {
		case "text":
			return f.Piece(0, v)
		case "thought":
			return f.Scalar(v)
		default:
			return f.Empty(v)
		}
	})
}
