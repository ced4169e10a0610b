package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A server that answers anything else is not measured.
func TestDecodes(t *testing.T) {
	wire, text, err := forms(chat(0))
	if err != nil {
		t.Fatal(err)
	}
	reply, status := text, http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(body, wire) || r.URL.String() != decodePath || r.Header.Get("Content-Type") != wireContent {
			t.Errorf("request for %s with %d bytes: %v", r.URL, len(body), err)
		}
		w.WriteHeader(status)
		w.Write(reply)
	}))
	defer server.Close()
	addr := server.Listener.Addr().String()
	if err := decodes(t.Context(), addr, wire, text); err != nil {
		t.Error(err)
	}
	if reply = []byte("{}"); decodes(t.Context(), addr, wire, text) == nil {
		t.Error("another message was taken")
	}
	if reply, status = text, http.StatusNotFound; decodes(t.Context(), addr, wire, text) == nil {
		t.Error("an error was taken")
	}
}

func TestLuaString(t *testing.T) {
	if got, want := luaString("a\r\x00é\""), `"\097\013\000\195\169\034"`; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}
