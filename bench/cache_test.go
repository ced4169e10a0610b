package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/bench/process"
)

// What the script for wrk replaces is the number, and nothing before it.
func TestKeyedBodiesDifferInTheirNumber(t *testing.T) {
	for _, model := range []string{model1KB, model16KB, modelWait} {
		if got, want := strings.Replace(keyedBody(model, 0), "000000", "000123", 1), keyedBody(model, 123); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestClient(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch {
		case r.Header.Get("Authorization") != "Bearer "+process.APIKey || r.URL.Path != chatPath || r.ContentLength != 600:
			w.WriteHeader(http.StatusBadRequest)
		case asked > 1:
			w.Header().Set("X-Cache", "HIT")
		}
		whole(w, reply(16_000))
	}))
	defer server.Close()
	c, err := dial(t.Context(), target{addr: server.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	for range 3 {
		if took, err := c.ask(keyedBody(model16KB, 1)); err != nil || took <= 0 {
			t.Fatalf("%v, %v", took, err)
		}
	}
	if c.hits != 2 || asked != 3 {
		t.Errorf("%d hits in %d requests", c.hits, asked)
	}
	if _, err := c.ask("short"); err == nil || !strings.Contains(err.Error(), "400") {
		t.Errorf("a refused request: %v", err)
	}
}

func TestGauge(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("# TYPE a_bytes gauge\na_bytes_total 1\na_bytes 1.5e+08\n"))
	}))
	defer server.Close()
	addr := server.Listener.Addr().String()
	if got, err := gauge(t.Context(), addr, "a_bytes"); got != 1.5e8 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := gauge(t.Context(), addr, "bytes"); err == nil {
		t.Error("a figure that is not there was read")
	}
}
