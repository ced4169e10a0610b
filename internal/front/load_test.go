package front

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What has ended counts as done, whatever its status; administrators' requests do not.
func TestLoad(t *testing.T) {
	var fail error
	s := newOwn(t, new(int), &fail)
	if got := s.Load(); got != (Load{}) {
		t.Errorf("%+v", got)
	}
	for _, body := range []string{`{"model":"m","messages":[]}`, `{`} {
		r := httptest.NewRequest("POST", chatPath, strings.NewReader(body))
		r.RemoteAddr, r.Host = "127.0.0.1:5", "localhost"
		r.Header.Set("Content-Type", "application/json")
		serve(s, httptest.NewRecorder(), r)
	}
	ask(s, "GET", "127.0.0.1:5", "localhost", http.Header{}, "")
	if got := s.Load(); got != (Load{Done: 2}) {
		t.Errorf("%+v", got)
	}
}
