package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"

	"sluice/internal/llm"
)

// received describes a body as it arrived, so that a test can tell that
// nothing changed it on its way. Bodies are hashed as they come, not held.
type received struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
	Parts  []part `json:"parts,omitempty"`
}

// part is one part of a multipart/form-data body.
type part struct {
	Name     string `json:"name"`
	Filename string `json:"filename,omitempty"`
	Type     string `json:"content_type,omitempty"`
	Bytes    int64  `json:"bytes"`
	SHA256   string `json:"sha256"`
	value    string // the beginning, for form fields
}

// maxField is how much of a form field's value is kept, in bytes.
const maxField = 4096

// receive reads the body to its end.
func (c *exchange) receive() (received, error) {
	whole := sha256.New()
	counted := &counter{r: io.TeeReader(c.r.Body, whole)}
	c.r.Body = io.NopCloser(counted)
	var got received
	form, err := c.r.MultipartReader()
	switch {
	case err == nil:
		got.Parts, err = parts(form, &c.room)
	case errors.Is(err, http.ErrNotMultipart):
		err = nil
	}
	if err == nil {
		_, err = io.Copy(io.Discard, counted) // what follows the last boundary
	}
	if err != nil {
		return got, badRequest("", "", "Could not read the body of your request: %v", err)
	}
	got.Bytes, got.SHA256 = counted.n, hex.EncodeToString(whole.Sum(nil))
	// A form names its model, and the faults behind it, as JSON does. Which
	// model it is does not matter here.
	_, faults, _ := strings.Cut(got.field("model"), "?")
	c.fault, err = parseFault(faults, "&", c.fault)
	return got, err
}

type counter struct {
	r io.Reader
	n int64
}

// Read reads and counts.
func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

func parts(form *multipart.Reader, room *room) ([]part, error) {
	var out []part
	for {
		p, err := form.NextRawPart()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		sum := sha256.New()
		var value strings.Builder
		head, err := io.Copy(io.MultiWriter(sum, &value), io.LimitReader(p, maxField))
		if err != nil {
			return nil, err
		}
		rest, err := io.Copy(sum, p)
		if err != nil {
			return nil, err
		}
		room.take(2*maxField + 4*(len(p.Header.Get("Content-Disposition"))+len(p.Header.Get("Content-Type"))))
		out = append(out, part{Name: p.FormName(), Filename: p.FileName(), Type: p.Header.Get("Content-Type"),
			Bytes: head + rest, SHA256: hex.EncodeToString(sum.Sum(nil)), value: value.String()})
	}
}

// field gives a form field's value.
func (r *received) field(name string) string {
	for _, p := range r.Parts {
		if p.Name == name && p.Filename == "" {
			return p.value
		}
	}
	return ""
}

// file gives the first part that has a file name.
func (r *received) file() part {
	for _, p := range r.Parts {
		if p.Filename != "" {
			return p
		}
	}
	return part{}
}

// echo answers any method on /v1/sim/echo with the request as it arrived.
func echo(c *exchange) (answer, error) {
	got, err := c.receive()
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(struct {
		Object   string      `json:"object"`
		Protocol string      `json:"protocol"`
		Method   string      `json:"method"`
		Path     string      `json:"path"`
		Query    string      `json:"query"`
		Host     string      `json:"host"`
		Header   http.Header `json:"header"`
		Length   int64       `json:"content_length"`
		received
	}{"sim.echo", c.r.Proto, c.r.Method, c.r.URL.EscapedPath(), c.r.URL.RawQuery, c.r.Host, c.r.Header, c.r.ContentLength, got})
}

// transcription answers POST /v1/audio/transcriptions with the sizes and
// hashes of what it was given.
func transcription(c *exchange) (answer, error) {
	got, err := c.receive()
	if err != nil {
		return answer{}, err
	}
	audio := got.file()
	if audio.Filename == "" {
		return answer{}, badRequest("file", "missing_required_parameter", "Missing required parameter: 'file'.")
	}
	text := prose(newDigest(c.server.seed, audio.SHA256).rand(purposeText), 8)
	if got.field("response_format") == "text" {
		return answer{contentType: "text/plain; charset=utf-8", body: []byte(text + "\n")}, nil
	}
	return jsonAnswer(struct {
		Text  string `json:"text"`
		Model string `json:"model"`
		received
	}{text, got.field("model"), got})
}

// speech answers POST /v1/audio/speech with bytes that are no JSON.
func speech(c *exchange) (answer, error) {
	var req struct {
		Input string `json:"input"`
	}
	if err := c.decode(&req); err != nil {
		return answer{}, err
	}
	if req.Input == "" {
		return answer{}, badRequest("input", "missing_required_parameter", "Missing required parameter: 'input'.")
	}
	r := newDigest(c.server.seed, req.Input).rand(purposeText)
	size := 1024 * countTokens(req.Input)
	c.room.take(size)
	sound := make([]byte, size)
	for i := range sound {
		sound[i] = byte(r.Uint32())
	}
	return answer{contentType: "audio/mpeg", body: sound}, nil
}

// upload answers POST /v1/files as if the file had been kept.
func upload(c *exchange) (answer, error) {
	got, err := c.receive()
	if err != nil {
		return answer{}, err
	}
	f := got.file()
	if f.Filename == "" {
		return answer{}, badRequest("file", "missing_required_parameter", "Missing required parameter: 'file'.")
	}
	purpose := got.field("purpose")
	if purpose == "" {
		return answer{}, badRequest("purpose", "missing_required_parameter", "Missing required parameter: 'purpose'.")
	}
	return jsonAnswer(struct {
		ID       string `json:"id"`
		Object   string `json:"object"`
		Created  int64  `json:"created_at"`
		Filename string `json:"filename"`
		Purpose  string `json:"purpose"`
		Status   string `json:"status"`
		received
	}{newDigest(c.server.seed, f.SHA256).identifier("file-", purposeID), "file", created, f.Filename, purpose, "processed", received{Bytes: f.Bytes, SHA256: f.SHA256}})
}

// listFiles answers GET /v1/files: nothing is ever kept.
func listFiles(*exchange) (answer, error) {
	return jsonAnswer(map[string]any{"object": "list", "data": []string{}, "has_more": false})
}

// lostFile answers for any single file.
func lostFile(c *exchange) (answer, error) {
	return answer{}, llm.Errorf(http.StatusNotFound, "", "No such File object: %s", strings.TrimPrefix(c.r.URL.Path, "/v1/files/"))
}

// moderation answers POST /v1/moderations: nothing is ever flagged.
func moderation(c *exchange) (answer, error) {
	var req struct {
		Input inputs `json:"input"`
		Model string `json:"model"`
	}
	if err := c.decode(&req); err != nil {
		return answer{}, err
	}
	if len(req.Input) == 0 {
		return answer{}, badRequest("input", "missing_required_parameter", "Missing required parameter: 'input'.")
	}
	c.items = len(req.Input)
	categories := strings.Fields(`hate hate/threatening harassment harassment/threatening illicit illicit/violent self-harm
self-harm/intent self-harm/instructions sexual sexual/minors violence violence/graphic`)
	type result struct {
		Flagged    bool                `json:"flagged"`
		Categories map[string]bool     `json:"categories"`
		Scores     map[string]float64  `json:"category_scores"`
		Types      map[string][]string `json:"category_applied_input_types"`
	}
	c.room.take(4096 * len(req.Input))
	same := result{Categories: map[string]bool{}, Scores: map[string]float64{}, Types: map[string][]string{}}
	for _, name := range categories {
		same.Categories[name], same.Scores[name], same.Types[name] = false, 0.0001, []string{"text"}
	}
	results := slices.Repeat([]result{same}, len(req.Input))
	id := newDigest(c.server.seed, req.Input...).identifier("modr-", purposeID)
	return jsonAnswer(map[string]any{"id": id, "model": first(req.Model, "omni-moderation-latest"), "results": results})
}
