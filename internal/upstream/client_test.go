package upstream

import (
	"context"
	"testing"
)

func TestEcho(t *testing.T) {
	srv, _ := serve(t, echo, nil)
	c := newClient(t, srv.URL, nil)
	for range 3 {
		r, body, err := fetch(context.Background(), c, post("hello"))
		if err != nil {
			t.Fatal(err)
		}
		if r.Status != 200 || body != "hello" || r.Get("X-Uri") != "/v1/chat/completions?a=b%20c" || r.Get("Content-Length") != "" {
			t.Errorf("%+v %q", r, body)
		}
	}
	if n := c.stats.createdH1.Load(); n != 1 || c.stats.reusedH1.Load() != 2 {
		t.Errorf("created %d, reused %d", n, c.stats.reusedH1.Load())
	}
}
