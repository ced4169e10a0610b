package front

import (
	"errors"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"strings"

	"sluice/internal/front/engine"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// maxModel bounds a model's name in a form, in bytes.
const maxModel = 1 << 10

// maxPartHead bounds what is read to find the head of a form's part, in bytes, and
// maxDisposition the field of it that stays in memory while the part comes. The library
// would hold 10 MiB, of which no budget knows.
const (
	maxPartHead    = 8 << 10
	maxDisposition = 2 << 10
)

// codecPaths begin the paths of the codec's requests, which name no model and
// which the codec reads itself: a batch is large, and its messages may have any
// members.
const codecPaths = "/v1/protobuf/"

// livePath takes a body that may go on for as long as its client likes. No pause
// in it is longer than body_timeout all the same.
const livePath = codecPaths + "decode/stream"

// readPassthrough prepares a request that is handed on untouched. A JSON body
// is held, so that it can be sent again. Of a form only as much is read as it
// takes to find the model; any other body is not looked into.
func (in *request) readPassthrough() error {
	q := in.q
	if q.Body == nil {
		return nil
	}
	contentType, coding := engine.Get(q.Header, "Content-Type"), engine.Get(q.Header, "Content-Encoding")
	if isJSON(contentType) && coding == "" {
		err := in.hold(in.st.cfg.MaxBodyBytes)
		if err != nil || strings.HasPrefix(in.req.Path, codecPaths) {
			return err
		}
		return in.peekJSON()
	}
	in.body.limit = in.st.cfg.MaxUploadBytes
	in.body.live = in.req.Path == livePath
	if q.Length > in.body.limit {
		return in.body.fail(errTooLarge(in.body.limit))
	}
	in.lent = &lent{src: &in.body}
	in.req.BodyReader, in.req.BodyLen, in.req.Live = in.lent, q.Length, in.body.live
	in.e.Duplex() // what is read as it comes may be answered as it comes
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" || coding != "" || strings.HasPrefix(in.req.Path, codecPaths) {
		return nil
	}
	return in.peekForm(params["boundary"])
}

// peekJSON finds the model in a body that need not be JSON: what it is, the
// upstream decides.
func (in *request) peekJSON() error {
	err := jsonscan.Members(in.req.Body, in.st.cfg.MaxJSONDepth, func(key []byte, value llm.Span) error {
		switch string(key) {
		case "model":
			return in.setModel(in.req.Body, value)
		case "stream":
			return in.setStream(in.req.Body[value.Start:value.End])
		}
		return nil
	})
	if err != nil {
		in.req.Model, in.req.ModelSpan, in.req.Stream = "", llm.Span{}, false
	}
	return nil
}

// peekForm reads a form up to the part that names the model. What was read is kept, as
// route keeps bodies for another attempt, and read again with the rest.
func (in *request) peekForm(boundary string) error {
	in.spool = in.s.spools.Spool(in.lent, in.req.BodyLen)
	in.spool.ID = in.req.ID
	in.req.Model = in.formModel(in.spool.Peek(), boundary)
	if err := in.body.failed(); err != nil {
		return err
	}
	if err := in.spool.Fault(); err != nil {
		return in.refuseBody(errNoModelYet(err))
	}
	// A form that cannot be read goes on as it is; the upstream says what is wrong.
	in.req.BodyReader = in.spool.Reader(false)
	return nil
}

// formModel looks for the model in a form, as far as that can be read.
func (in *request) formModel(src io.Reader, boundary string) string {
	bounded := &bounded{src: src}
	form := multipart.NewReader(bounded, boundary)
	for {
		bounded.left = maxPartHead
		part, err := form.NextRawPart()
		if err != nil || len(part.Header.Get("Content-Disposition")) > maxDisposition {
			return ""
		}
		name, isFile := part.FormName(), part.FileName() != ""
		part.Header = nil // the part may take long to come
		if isFile && hasNoModel(in.req.Path) {
			return ""
		}
		bounded.left = math.MaxInt64
		if name != "model" || isFile {
			if _, err := io.Copy(io.Discard, part); err != nil {
				return ""
			}
			continue
		}
		model, err := io.ReadAll(io.LimitReader(part, maxModel+1))
		if err != nil || len(model) > maxModel {
			return ""
		}
		if len(model) > 0 {
			return string(model)
		}
	}
}

// hasNoModel reports whether a path is one of those whose forms name no model and often
// are large: it is looked for before the file only, as some gateways have it there.
func hasNoModel(path string) bool {
	return path == "/v1/files" || strings.HasPrefix(path, "/v1/uploads/")
}

// bounded gives so much and no more.
type bounded struct {
	src  io.Reader
	left int64
}

var errBounded = errors.New("a part's head is too long")

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errBounded
	}
	n, err := b.src.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
