package front

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"os"
	"strings"

	"sluice/internal/front/engine"
	"sluice/internal/jsonscan"
	"sluice/internal/llm"
)

// peekBytes is how much of an upload is held in memory while its model is
// looked for; what is more goes to a file.
const peekBytes = 256 << 10

// maxModel bounds a model's name in a form, in bytes.
const maxModel = 1 << 10

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
	in.req.BodyReader, in.req.BodyLen, in.req.Live = &in.body, q.Length, in.body.live
	in.e.Duplex() // what is read as it comes may be answered as it comes
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" || coding != "" {
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

// peekForm reads a form up to the part that names the model. The bytes that
// were read are sent on before the rest.
func (in *request) peekForm(boundary string) error {
	in.spool = &spool{}
	form := multipart.NewReader(io.TeeReader(&in.body, in.spool), boundary)
	var err error
	for in.req.Model == "" {
		var part *multipart.Part
		if part, err = form.NextRawPart(); err != nil {
			break
		}
		if part.FormName() != "model" || part.FileName() != "" {
			continue
		}
		var model []byte
		if model, err = io.ReadAll(io.LimitReader(part, maxModel+1)); err != nil || len(model) > maxModel {
			break
		}
		in.req.Model = string(model)
	}
	if err := in.body.failed(); err != nil {
		return err
	}
	if in.spool.err != nil {
		return in.spool.err
	}
	// A form that cannot be read goes on as it is; the upstream says what is wrong.
	held, err := in.spool.reader()
	if err != nil {
		return err
	}
	in.req.BodyReader = io.MultiReader(held, &in.body)
	return nil
}

// spool holds the beginning of a body, first in memory, then in a file that has
// no name any more and so never outlives the process.
type spool struct {
	mem  bytes.Buffer
	file *os.File
	err  error
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && s.mem.Len()+len(p) > peekBytes {
		if err := s.overflow(); err != nil {
			s.err = fmt.Errorf("spool upload: %w", err)
		}
	}
	if s.err != nil {
		return 0, s.err
	}
	if s.file == nil {
		return s.mem.Write(p)
	}
	n, err := s.file.Write(p)
	if err != nil {
		s.err = fmt.Errorf("spool upload: %w", err)
	}
	return n, s.err
}

func (s *spool) overflow() error {
	f, err := os.CreateTemp("", "sluice-upload-*")
	if err != nil {
		return err
	}
	s.file = f
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	_, err = f.Write(s.mem.Bytes())
	s.mem = bytes.Buffer{}
	return err
}

// reader returns what was written, from its beginning.
func (s *spool) reader() (io.Reader, error) {
	if s.file == nil {
		return &s.mem, nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("read spooled upload: %w", err)
	}
	return s.file, nil
}

func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}
