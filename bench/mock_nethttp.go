package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// serveNetHTTP is a mock as most services written in Go would be.
func serveNetHTTP(addr string) error { return http.ListenAndServe(addr, netHTTPMock()) }

func netHTTPMock() http.Handler {
	fast, slow := chunks(events), chunks(slowEvents)
	short, middling, long, models := reply(1000), reply(2000), reply(16_000), modelList()
	var served atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) { whole(w, models) })
	mux.HandleFunc("GET "+servedPath, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, served.Load()) })
	mux.HandleFunc("POST "+chatPath, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		number := served.Add(1)
		model, streamed := asked(body)
		switch {
		case streamed && string(model) == modelSlow:
			stream(w, r, slow, slowPause)
			return
		case streamed:
			if string(model) == modelSoon {
				time.Sleep(soonTime)
			}
			stream(w, r, fast, 0)
			return
		}
		text := short
		switch string(model) {
		case model2KB:
			text = middling
		case model16KB:
			text = long
		case modelSoon:
			time.Sleep(soonTime)
		case modelWait:
			time.Sleep(thinkTime)
		}
		text = bytes.Clone(text)
		setDigits(digitsOf(text), int(number))
		whole(w, text)
	})
	return mux
}

func whole(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.Write(text)
}

func stream(w http.ResponseWriter, r *http.Request, chunks [][]byte, pause time.Duration) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, c := range chunks {
		if _, err := w.Write(c); err != nil {
			return
		}
		w.(http.Flusher).Flush()
		if pause == 0 {
			continue
		}
		select {
		case <-time.After(pause):
		case <-r.Context().Done():
			return
		}
	}
}

// asked tells what a chat's body asks for, as far as mocks look into it.
func asked(body []byte) (model []byte, streamed bool) {
	const before = `"model":"`
	if i := bytes.Index(body, []byte(before)); i >= 0 {
		model = body[i+len(before):]
		model = model[:max(bytes.IndexByte(model, '"'), 0)]
	}
	return model, bytes.Contains(body, []byte(`"stream":true`))
}
