package soak

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// plainly sends a request and reads its reply whole, where it is no conversation. It reports
// whether there is one with status 200.
func (h *hardening) plainly(ctx context.Context, kind, op, path, contentType string, body []byte, s say) (b []byte, what string, ok bool) {
	r := h.send(ctx, s, path, contentType, body)
	if r.resp == nil {
		h.without(kind, op, s, r)
		return nil, "", false
	}
	defer r.close()
	what = path + ", id " + r.resp.Header.Get("X-Request-Id") + ": "
	if r.resp.StatusCode != http.StatusOK {
		h.refusedWith(kind, op, "chat", s, r, what)
		return nil, what, false
	}
	b, err := io.ReadAll(r.body)
	switch {
	case err != nil && r.ctx.Err() != nil:
		h.counted(op, classLeft)
		h.wrong(kind, "lost: "+what+"nothing more came: "+err.Error())
		return nil, what, false
	case err != nil:
		h.counted(op, classBroken)
		h.ended(kind, "cut")
		return nil, what, false
	}
	h.counted(op, "2xx")
	return b, what, true
}

// items are texts of which some were asked for before.
func items(n int, what string) (texts []string) {
	for i := range 1 + n%4 {
		t := fmt.Sprintf("%s %d of %d", what, i, n)
		if rand.IntN(3) == 0 {
			t = fmt.Sprintf("%s %d that comes again", what, rand.IntN(300))
		}
		texts = append(texts, t)
	}
	return texts
}

// inputOf is how texts are sent, one of them by itself now and then.
func inputOf(texts []string) any {
	if len(texts) == 1 && rand.IntN(2) == 0 {
		return texts[0]
	}
	return texts
}

func tokensOfAll(texts []string) (n int) {
	for _, t := range texts {
		n += tokensOf(t)
	}
	return n
}

// embed asks for vectors.
func (h *hardening) embed(ctx context.Context, kind string, n int) {
	texts := items(n, "text")
	o := object{"model": "m-embed", "input": inputOf(texts)}
	coded := n%3 == 0
	if coded {
		o["encoding_format"] = "base64"
	}
	body, _ := json.Marshal(o)
	b, what, ok := h.plainly(ctx, kind, "embeddings", "/v1/embeddings", "application/json", body, say{key: keyOne})
	if !ok {
		return
	}
	var r struct {
		Data []struct {
			Index     int
			Embedding json.RawMessage
		}
		Usage struct {
			Prompt int `json:"prompt_tokens"`
		}
	}
	if err := json.Unmarshal(b, &r); err != nil || len(r.Data) != len(texts) {
		h.wrong(kind, fmt.Sprintf("unsound: %s%d of %d vectors, %v", what, len(r.Data), len(texts), err))
		return
	}
	for i, d := range r.Data {
		var want []byte
		if v := vectorOf(texts[i]); coded {
			want, _ = json.Marshal(base64.StdEncoding.EncodeToString(littleEndian(v)))
		} else {
			want, _ = json.Marshal(v)
		}
		if d.Index != i || !bytes.Equal(d.Embedding, want) {
			h.wrong(kind, fmt.Sprintf("wrong answer: %svector %d of %d is %d: %s, not %s", what, i, len(texts), d.Index, d.Embedding, want))
			return
		}
	}
	if r.Usage.Prompt != tokensOfAll(texts) {
		h.wrong(kind, fmt.Sprintf("wrong usage: %s%d tokens, not %d", what, r.Usage.Prompt, tokensOfAll(texts)))
		return
	}
	h.ended(kind, "answered")
}

// complete has prompts gone on with.
func (h *hardening) complete(ctx context.Context, kind string, n int) {
	prompts := items(n, "prompt")
	body, _ := json.Marshal(object{"model": "m-text", "prompt": inputOf(prompts)})
	b, what, ok := h.plainly(ctx, kind, "text_completion", "/v1/completions", "application/json", body, say{key: keyOne})
	if !ok {
		return
	}
	var r struct {
		Choices []struct {
			Index int
			Text  string
		}
		Usage struct {
			Prompt     int `json:"prompt_tokens"`
			Completion int `json:"completion_tokens"`
		}
	}
	if err := json.Unmarshal(b, &r); err != nil || len(r.Choices) != len(prompts) {
		h.wrong(kind, fmt.Sprintf("unsound: %s%d of %d choices, %v", what, len(r.Choices), len(prompts), err))
		return
	}
	for i, c := range r.Choices {
		if c.Index != i || c.Text != completionOf(prompts[i]) {
			h.wrong(kind, fmt.Sprintf("wrong answer: %schoice %d is %d: %q", what, i, c.Index, c.Text))
			return
		}
	}
	if u := r.Usage; u.Prompt != tokensOfAll(prompts) || u.Completion != completionTokens*len(prompts) {
		h.wrong(kind, fmt.Sprintf("wrong usage: %s%+v, not %d and %d", what, u, tokensOfAll(prompts), completionTokens*len(prompts)))
		return
	}
	h.ended(kind, "answered")
}

// upload sends a file.
func (h *hardening) upload(ctx context.Context, kind string, n int) {
	file := bytes.Repeat(fmt.Appendf(nil, "%09d ", n), 100+rand.IntN(200_000))
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	form.WriteField("model", "m-upload")
	part, _ := form.CreateFormFile("file", "sound.wav")
	part.Write(file)
	form.Close()
	s := say{slowly: false}
	s.of.turns = []turn{{"", strings.Repeat(" ", len(file))}} // it may be too large
	b, what, ok := h.plainly(ctx, kind, "passthrough", "/v1/audio/transcriptions", form.FormDataContentType(), body.Bytes(), s)
	if !ok {
		return
	}
	var r struct{ Text string }
	if err := json.Unmarshal(b, &r); err != nil || r.Text != digestOf(file) {
		h.wrong(kind, fmt.Sprintf("wrong answer: %s%.200q %v", what, b, err))
		return
	}
	h.ended(kind, "answered")
}

// transcode has messages turned into protobuf and back.
func (h *hardening) transcode(ctx context.Context, kind string, n int) {
	text := fmt.Sprintf("é %d %s", n, filler(n))
	line := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "user")
	line = protowire.AppendString(protowire.AppendTag(line, 2, protowire.BytesType), text)
	wire := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "m")
	wire = protowire.AppendBytes(protowire.AppendTag(wire, 2, protowire.BytesType), line)
	quoted, _ := json.Marshal(text)
	plain := fmt.Appendf(nil, `{"model":"m","lines":[{"role":"user","text":%s}]}`, quoted)
	var path, contentType string
	var body, want []byte
	switch n % 4 {
	case 0:
		path, contentType, body, want = "/v1/protobuf/encode?type=bench.Ask", "application/json", plain, wire
	case 1:
		path, contentType, body, want = "/v1/protobuf/decode?type=bench.Ask", "application/x-protobuf", wire, plain
	case 2:
		path, contentType = "/v1/protobuf/decode", "application/json"
		items := []any{object{"data": wire}, object{"data": "/w=="}, object{"data": wire}}
		body, _ = json.Marshal(object{"type": "bench.Ask", "items": items})
	case 3:
		path, contentType = "/v1/protobuf/decode/stream?type=bench.Ask", "application/x-protobuf"
		for range 3 + n%5 {
			body = protowire.AppendBytes(body, wire)
		}
	}
	b, what, ok := h.plainly(ctx, kind, "protobuf", path, contentType, body, say{})
	if !ok {
		return
	}
	var fault string
	switch n % 4 {
	case 0:
		if !bytes.Equal(b, want) {
			fault = fmt.Sprintf("%.200q, not %.200q", b, want)
		}
	case 1:
		if !sameJSON(b, want) {
			fault = fmt.Sprintf("%.200q, not %.200q", b, want)
		}
	case 2:
		var r struct {
			Items []struct {
				Data  json.RawMessage
				Error *struct{ Message string }
			}
		}
		if err := json.Unmarshal(b, &r); err != nil || len(r.Items) != 3 || !sameJSON(r.Items[0].Data, plain) || r.Items[1].Error == nil || !sameJSON(r.Items[2].Data, plain) {
			fault = fmt.Sprintf("%.400q", b)
		}
	case 3:
		events := strings.Split(strings.TrimSpace(string(b)), "\n\n")
		if len(events) != 3+n%5+1 || events[len(events)-1] != "data: [DONE]" {
			fault = fmt.Sprintf("%d events for %d messages: %.200q", len(events), 3+n%5, b)
			break
		}
		for _, e := range events[:len(events)-1] {
			if !sameJSON([]byte(strings.TrimPrefix(e, "data: ")), plain) {
				fault = fmt.Sprintf("%.200q", e)
			}
		}
	}
	if fault != "" {
		h.wrong(kind, "wrong answer: "+what+fault)
		return
	}
	h.ended(kind, "answered")
}

// sameJSON reports whether two texts are the same to a program.
func sameJSON(a, b []byte) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	p, _ := json.Marshal(x)
	q, _ := json.Marshal(y)
	return bytes.Equal(p, q)
}
