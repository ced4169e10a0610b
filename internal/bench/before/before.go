// Package before is the gateway that "sluice bench" measures Sluice against where
// Sluice's own configuration cannot be what was before: a proxy for OpenAI's API as they
// are commonly written. It reads a request into a map and writes it again, has one pool of
// connections, no cache, no batches and no second try; of a stream it joins what comes to
// a string, takes events off its front, decodes each, joins their text to the reply and
// sends each on; and it turns protobuf messages into JSON with Google's library and keeps
// no result. It is written plainly, and nothing in it is there to be slow.
package before

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice/internal/protobuf/schema"
)

// Options say how it is set up.
type Options struct {
	Upstreams   []string      // base URLs without path, asked in turn
	Patience    time.Duration // for the head of a reply; 0 for any
	Schema      []byte        // text of a .proto file
	Connections int           // to each upstream at once
	KeepAlive   int           // of these kept when idle, for 30 s
	Log         *slog.Logger
}

// gateway is one.
type gateway struct {
	Options
	client *http.Client
	types  *schema.Schema
	turn   atomic.Uint64
}

// Serve answers until ctx is done. It tells announce where it listens.
func Serve(ctx context.Context, o Options, announce func(net.Addr)) error {
	types, err := schema.Parse("bench", "text/plain", o.Schema, schema.Limits{})
	if err != nil {
		return fmt.Errorf("read schema: %w", err)
	}
	g := &gateway{Options: o, types: types, client: &http.Client{Transport: &http.Transport{
		MaxConnsPerHost: o.Connections, MaxIdleConnsPerHost: o.KeepAlive, IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: o.Patience,
	}}}
	defer g.client.CloseIdleConnections()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", g.logged(g.forward))
	mux.HandleFunc("POST /v1/embeddings", g.logged(g.forward))
	mux.HandleFunc("POST /v1/protobuf/decode", g.logged(g.decode))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	announce(listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// logged writes a line for each request.
func (g *gateway) logged(next func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		err := next(w, r)
		g.Log.Info("request", "method", r.Method, "path", r.URL.Path, "took", time.Since(begun), "error", err)
	}
}

func fail(w http.ResponseWriter, status int, err error) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": err.Error(), "type": "api_error"}})
	return err
}

// forward passes a request on and the reply back.
func (g *gateway) forward(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fail(w, http.StatusBadRequest, err)
	}
	var call map[string]any
	if err := json.Unmarshal(body, &call); err != nil {
		return fail(w, http.StatusBadRequest, err)
	}
	if _, ok := call["model"].(string); !ok {
		return fail(w, http.StatusBadRequest, errors.New("model is missing"))
	}
	if body, err = json.Marshal(call); err != nil {
		return fail(w, http.StatusInternalServerError, err)
	}
	upstream := g.Upstreams[g.turn.Add(1)%uint64(len(g.Upstreams))]
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, upstream+r.URL.Path, strings.NewReader(string(body)))
	if err != nil {
		return fail(w, http.StatusInternalServerError, err)
	}
	req.Header.Set("Content-Type", "application/json")
	if fault := r.Header.Get("X-Sim-Fault"); fault != "" {
		req.Header.Set("X-Sim-Fault", fault)
	}
	resp, err := g.client.Do(req)
	if err != nil {
		return fail(w, http.StatusBadGateway, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if streamed, _ := call["stream"].(bool); streamed && resp.StatusCode == http.StatusOK {
		return g.stream(w, resp)
	}
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		return fail(w, http.StatusBadGateway, err)
	}
	var answer map[string]any
	if err := json.Unmarshal(reply, &answer); err != nil {
		return fail(w, http.StatusBadGateway, err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(resp.StatusCode)
	return json.NewEncoder(w).Encode(answer)
}

// stream passes events on as they come, and joins their text.
func (g *gateway) stream(w http.ResponseWriter, resp *http.Response) error {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	flusher, ok := w.(http.Flusher)
	if !ok {
		return errors.New("this server cannot stream")
	}
	buffer, text := "", ""
	chunk := make([]byte, 4096)
	for {
		n, err := resp.Body.Read(chunk)
		buffer += string(chunk[:n])
		for {
			event, rest, whole := strings.Cut(buffer, "\n\n")
			if !whole {
				break
			}
			buffer = rest
			data, ok := strings.CutPrefix(event, "data: ")
			if !ok {
				continue
			}
			if data != "[DONE]" {
				var delta map[string]any
				if err := json.Unmarshal([]byte(data), &delta); err != nil {
					return fmt.Errorf("read event: %w", err)
				}
				text += content(delta)
				again, err := json.Marshal(delta)
				if err != nil {
					return fmt.Errorf("write event: %w", err)
				}
				data = string(again)
			}
			if _, err := fmt.Fprintf(w, "data: %s\n\n", data); err != nil {
				return err
			}
			flusher.Flush()
		}
		if errors.Is(err, io.EOF) {
			g.Log.Info("stream", "characters", len(text))
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// content is the text of an event.
func content(event map[string]any) (text string) {
	choices, _ := event["choices"].([]any)
	for _, c := range choices {
		choice, _ := c.(map[string]any)
		delta, _ := choice["delta"].(map[string]any)
		piece, _ := delta["content"].(string)
		text += piece
	}
	return text
}

// decode turns a message into JSON.
func (g *gateway) decode(w http.ResponseWriter, r *http.Request) error {
	var envelope struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	if err := json.NewDecoder(r.Body).Decode(&envelope); err != nil {
		return fail(w, http.StatusBadRequest, err)
	}
	wire, err := base64.StdEncoding.DecodeString(envelope.Data)
	if err != nil {
		return fail(w, http.StatusBadRequest, err)
	}
	descriptor, err := g.types.FindMessage(protoreflect.FullName(envelope.Type))
	if err != nil {
		return fail(w, http.StatusNotFound, err)
	}
	message := dynamicpb.NewMessage(descriptor)
	if err := proto.Unmarshal(wire, message); err != nil {
		return fail(w, http.StatusBadRequest, err)
	}
	data, err := protojson.Marshal(message)
	if err != nil {
		return fail(w, http.StatusInternalServerError, err)
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(map[string]any{"type": envelope.Type, "data": json.RawMessage(data)})
}
