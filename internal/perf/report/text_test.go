package report

import (
	"strings"
	"testing"
	"time"
)

// Tables are for people: columns in line, units scaled.
func TestText(t *testing.T) {
	alarms := func(o *Options) {
		o.Alarms = func() any {
			return []map[string]any{{"name": "slow", "state": "firing", "message": "P99 is 1 s"}, {"name": "idle", "state": "inactive"}}
		}
	}
	run(t, alarms, func(r *Report, g *gateway) {
		time.Sleep(time.Second)
		g.work()
		time.Sleep(9*time.Second + time.Millisecond)
		const want = `Sluice 1.2.3 · degraded · up 10s · 2000-01-01T00:00:10Z

SUMMARY                    last 1m
Requests                  40 (4/s)
Failed                   10 (25 %)
Response time       P50    99.6 ms
                    P90    99.6 ms
                    P95    99.6 ms
                    P99    99.6 ms
Connections reused            50 %

NOW
Requests                40 since the start, 2 under way
Failed since the start  10 cut
Memory                  90 MiB, 3 MiB of replies in the cache
Connections             3 from clients, 6 to upstreams
Alarm                   P99 is 1 s

COMPONENT   STATUS    SINCE                 LAST ERROR
redis       degraded  2000-01-01T00:00:10Z  no route
upstream/a  healthy   2000-01-01T00:00:10Z

ALARM  STATE   MESSAGE
slow   firing  P99 is 1 s
`
		got := ask(t, r, "format=text&window=1m")
		head, rest, _ := strings.Cut(got, "\nPERF\n")
		if head != want {
			t.Errorf("got\n%s\nwant\n%s", head, want)
		}
		const requests = `
FIGURE                                                  NOW     1m
cache_bytes                                           3 MiB
cache_requests_total{result="coalesced"}                  1    0/s
cache_requests_total{result="hit"}                        3  0.3/s
cache_requests_total{result="miss"}                       5    0/s
client_connections_open                                   3
go_gc_cycles_total                                        7    0/s
process_resident_bytes                               90 MiB
request_error_ratio                                           25 %
requests_failed_total{class="cut",operation="chat"}      10    1/s
requests_in_flight                                        2
requests_total{operation="chat",status="2xx"}            30    3/s
requests_total{operation="chat",status="5xx"}            10    1/s
upstream_connection_reuse_ratio{upstream="a"}                 50 %
upstream_connections_open{upstream="a"}                   2
upstream_connections_open{upstream="b"}                   4

FIGURE                                      WINDOW  COUNT  RATE    MEAN      P50      P90      P95      P99      MAX
model_tokens{model="a\"b"}                      1m     40   4/s       7     6.95     6.95     6.95     6.95     6.95
request_duration_seconds{operation="chat"}      1m     40   4/s  100 ms  99.6 ms  99.6 ms  99.6 ms  99.6 ms  99.6 ms

Rows that are all zero are left out: ?format=text&all=1 shows them.
`
		if _, got, _ := strings.Cut(rest, "\nREQUESTS\n"); got != requests {
			t.Errorf("got\n%s\nwant\n%s", got, requests)
		}
		for _, c := range []struct{ query, alarm, row string }{
			{"format=text&all=1", "\nidle   inactive\n", "\nrequests_failed_total{class=\"timeout\",operation=\"chat\"}       0    0/s    0/s    0/s\n"},
			{"format=text&all=0", "", ""}, {"format=text", "", ""},
		} {
			got := ask(t, r, c.query)
			if strings.Contains(got, "idle") != (c.alarm != "") || strings.Contains(got, "timeout") != (c.row != "") || !strings.Contains(got, c.alarm) || !strings.Contains(got, c.row) {
				t.Errorf("%s\n%s", c.query, got)
			}
		}
	})
}

func TestScale(t *testing.T) {
	for _, c := range []struct {
		value float64
		unit  string
		want  string
	}{
		{0, "seconds", "0 s"}, {12.345e-6, "seconds", "12.3 µs"}, {0.0999, "seconds", "99.9 ms"}, {1, "seconds", "1 s"}, {4321, "seconds", "4321 s"},
		{0, "bytes", "0 B"}, {1023, "bytes", "1023 B"}, {1536, "bytes", "1.5 KiB"}, {5e15, "bytes", "4547 TiB"},
		{0.98765, "ratio", "98.8 %"}, {1, "ratio", "100 %"},
		{123456, "", "123456"}, {12345678, "tokens", "12.3 M"}, {0.123456, "", "0.123"}, {-3, "", "-3"},
	} {
		if got := scale(c.value, c.unit); got != c.want {
			t.Errorf("%g %s: got %q, want %q", c.value, c.unit, got, c.want)
		}
	}
}
